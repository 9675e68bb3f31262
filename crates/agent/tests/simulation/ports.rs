//! Published ports: chosen, refused, kept over restarts, given back. The host's ports are a set here.

use crate::world::{H1, World, play};
use hopsack_agent::endpoints::ports::{Hold, HoldError, HostPorts};
use hopsack_api::{Api, ApiError, AttachRequest, EndpointStatus, ErrorCode, PortRequest, PublishRequest};
use hopsack_types::numbers::FREE_PORTS;
use hopsack_types::{HostPort, Protocol, PublishedPort};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

/// The ports of one host, and who has them: its agent or another program, which is all the same to them.
#[derive(Clone, Default)]
pub struct SimPorts(Arc<Mutex<Vec<HostPort>>>);

/// One port of the set; given back when dropped.
struct SimHold {
    ports: SimPorts,
    port: HostPort,
}

impl HostPorts for SimPorts {
    fn hold(&self, port: HostPort) -> Result<Hold, HoldError> {
        let mut taken = self.0.lock().unwrap();
        if taken.iter().any(|other| other.overlaps(&port)) {
            return Err(HoldError::Busy);
        }
        taken.push(port);
        Ok(Box::new(SimHold { ports: self.clone(), port }))
    }
}

impl Drop for SimHold {
    fn drop(&mut self) {
        self.ports.0.lock().unwrap().retain(|port| *port != self.port);
    }
}

const SEED: u64 = 21;

fn number(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

/// A port of TCP; none is any.
fn asked(host: Option<(u16, u16)>, container_port: u16) -> PortRequest {
    PortRequest {
        protocol: Protocol::Tcp,
        host_address: None,
        host_ports: host.map(|(first, last)| (number(first), number(last))),
        container_port: number(container_port),
    }
}

fn host_port(port: u16) -> HostPort {
    HostPort { protocol: Protocol::Tcp, address: IpAddr::from([0, 0, 0, 0]), port: number(port) }
}

/// Two containers of a network on one host of a cluster.
async fn containers(world: &mut World) -> [EndpointStatus; 2] {
    world.cluster().await;
    let web = world.network(H1, "web", &["10.99.0.0/24"]).await.unwrap().id;
    world.until("there is a reserve", |world| world.reserve(H1, web) > 8).await;
    [world.container(H1, web).await.unwrap(), world.container(H1, web).await.unwrap()]
}

async fn publish(
    world: &World,
    endpoint: &EndpointStatus,
    ports: &[PortRequest],
) -> Result<Vec<PublishedPort>, ApiError> {
    let request = PublishRequest { endpoint: endpoint.id, ports: ports.to_vec() };
    world.call(H1, "publish", |api| async move { api.publish(request).await }).await
}

impl SimPorts {
    fn taken(&self) -> Vec<HostPort> {
        let mut taken = self.0.lock().unwrap().clone();
        taken.sort();
        taken
    }
}

/// What the fake kernel translates, `protocol port address port`.
fn translated(world: &World) -> usize {
    let state = world.hosts[H1].kernel.state();
    state.firewall.sets.get("ports_any4").map_or(0, |set| set.elements.len())
}

async fn faults(world: &World) -> Vec<String> {
    let faults = world.hosts[H1].api().status().await.unwrap().faults.into_iter();
    faults.map(|fault| fault.text).collect()
}

#[test]
fn a_busy_port_is_refused_with_who_has_it_and_nothing_is_taken() {
    play(SEED, |mut world| async move {
        let [one, two] = containers(&mut world).await;
        let ports = world.hosts[H1].ports.clone();
        let nginx = ports.hold(host_port(81)).ok().unwrap();
        assert_eq!(
            publish(&world, &one, &[asked(Some((80, 80)), 80)]).await.unwrap(),
            [PublishedPort { host: host_port(80), container_port: number(80) }]
        );
        let error = publish(&world, &two, &[asked(Some((82, 82)), 80), asked(Some((80, 80)), 80)]).await;
        let error = error.unwrap_err();
        assert_eq!(error.code, ErrorCode::Conflict);
        let told = format!("port 0.0.0.0:80/tcp of this host is published for {} already", one.name);
        assert!(error.message.starts_with(&told), "{}", error.message);
        let error = publish(&world, &two, &[asked(Some((81, 81)), 80)]).await.unwrap_err();
        assert!(error.message.contains("0.0.0.0:81/tcp is in use by another program"), "{}", error.message);
        let error = publish(&world, &two, &[asked(Some((80, 81)), 80)]).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Exhausted);
        assert_eq!(ports.taken(), [host_port(80), host_port(81)]);
        assert_eq!(translated(&world), 1);
        drop(nginx);
        world
    });
}

#[test]
fn any_free_port_is_kept_when_it_is_asked_for_again_and_given_back_with_its_endpoint() {
    play(SEED, |mut world| async move {
        let [one, two] = containers(&mut world).await;
        let wanted = [asked(None, 80), asked(None, 81), asked(Some((80, 82)), 82)];
        let first = publish(&world, &one, &wanted).await.unwrap();
        assert!(
            first[..2].iter().all(|published| FREE_PORTS.contains(&published.host.port.get())),
            "{first:?}"
        );
        assert_eq!(publish(&world, &one, &wanted).await.unwrap(), first, "a repeated call");
        let other = publish(&world, &two, &[asked(Some((80, 82)), 80)]).await.unwrap();
        assert_eq!(other[0].host, host_port(81), "the next of the range");
        assert_eq!(translated(&world), 4);
        publish(&world, &one, &wanted[2..]).await.unwrap();
        assert_eq!(world.hosts[H1].ports.taken(), [host_port(80), host_port(81)]);
        world.end(one.addresses[0]).await.unwrap();
        assert_eq!(world.hosts[H1].ports.taken(), [host_port(81)]);
        let id = two.id;
        world.call(H1, "unpublish", |api| async move { api.unpublish(id).await }).await.unwrap();
        assert_eq!((world.hosts[H1].ports.taken(), translated(&world)), (vec![], 0));
        world
    });
}

#[test]
fn ports_outlive_the_agent_and_one_that_was_taken_meanwhile_is_a_fault_until_it_is_free() {
    play(SEED, |mut world| async move {
        let [one, _] = containers(&mut world).await;
        publish(&world, &one, &[asked(Some((80, 80)), 80), asked(Some((81, 81)), 80)]).await.unwrap();
        world.hosts[H1].crash().await;
        let ports = world.hosts[H1].ports.clone();
        assert_eq!((ports.taken(), translated(&world)), (vec![], 2), "the kernel goes on");
        let thief = ports.hold(host_port(81)).ok().unwrap();
        world.hosts[H1].start().await.unwrap();
        let known = world.hosts[H1].api().endpoints().await.unwrap();
        assert_eq!(known.iter().map(|endpoint| endpoint.ports.len()).sum::<usize>(), 2);
        let told = format!("port 0.0.0.0:81/tcp is published for {}, and another program", one.name);
        assert!(faults(&world).await.iter().any(|fault| fault.starts_with(&told)));
        drop(thief);
        let both = [host_port(80), host_port(81)];
        world.until("the agent has its ports again", |world| world.hosts[H1].ports.taken() == both).await;
        assert!(!faults(&world).await.iter().any(|fault| fault.contains("is published")));
        world
    });
}

#[test]
fn a_namespace_is_attached_with_its_ports_or_not_at_all() {
    play(SEED, |mut world| async move {
        containers(&mut world).await;
        let attach = |ports: Vec<PortRequest>| AttachRequest {
            // A fake kernel does not mind that it is of another kind.
            namespace: "/proc/self/ns/uts".into(),
            network: "web".parse().unwrap(),
            interface: "eth0".parse().unwrap(),
            addresses: Vec::new(),
            name: "blue".to_owned(),
            labels: BTreeMap::new(),
            ports,
        };
        let somebody = world.hosts[H1].ports.hold(host_port(81)).ok().unwrap();
        let both = attach(vec![asked(Some((80, 80)), 80), asked(Some((81, 81)), 80)]);
        let again = both.clone();
        let error = world.call(H1, "attach", |api| async move { api.attach(both).await }).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Conflict);
        assert_eq!(world.hosts[H1].api().endpoints().await.unwrap().len(), 2, "nothing is left of it");
        assert_eq!(world.hosts[H1].ports.taken(), [host_port(81)]);
        drop(somebody);
        let made = world.call(H1, "attach", |api| async move { api.attach(again).await }).await.unwrap();
        assert_eq!((made.ports.len(), translated(&world)), (2, 2));
        world
    });
}
