//! What an agent tells who looks.

use crate::world::{H1, H2, H3, World, play};
use hopsack_api::{Api, EventKind, HeldAddress, IpamStatus, RemoveHostRequest, SubnetIpam};
use hopsack_kernel::{Fault, Table};
use hopsack_types::PathKind;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::sleep;

const SEED: u64 = 44;
/// Until reserves are granted and facts told.
const SETTLED: Duration = Duration::from_secs(30);

async fn ipam(world: &World, host: usize) -> IpamStatus {
    world.call(host, "ipam", |api| async move { api.ipam().await }).await.unwrap()
}

fn holder_of(ipam: &IpamStatus, address: IpAddr) -> HeldAddress {
    ipam.networks[0].held.iter().find(|held| held.address == address).unwrap().clone()
}

#[test]
fn every_address_of_a_network_is_accounted_for_and_named_with_its_host() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        let web = world.network(H1, "web", &["10.99.0.0/24"]).await.unwrap().id;
        let mine = world.container(H1, web).await.unwrap();
        let short = world.container(H1, web).await.unwrap().addresses[0];
        let theirs = world.container(H2, web).await.unwrap();
        let lost = world.container(H3, web).await.unwrap().addresses[0];
        sleep(SETTLED).await;
        world.hosts[H3].crash().await;
        world
            .until("h3 is silent", |world| {
                let hosts = hopsack_agent::report::status(&world.hosts[H1].member()).0.hosts;
                hosts.iter().any(|host| host.name.as_str() == "h3" && !host.alive)
            })
            .await;
        let request = RemoveHostRequest { host: "h3".to_owned(), destroyed: false };
        world.call(H1, "remove host", |api| async move { api.remove_host(request).await }).await.unwrap();
        sleep(SETTLED).await;
        world.end(short).await.unwrap();

        let told = ipam(&world, H1).await;
        let [pool, _v6] = &told.pools[..] else { panic!("{told:?}") };
        assert_eq!((pool.hosts, pool.subnets.as_slice()), (2, &[][..]), "the subnet is none of the pool's");
        let SubnetIpam { used, reserve, quarantined, free, kept, cooling, pool, blocks, .. } =
            &told.networks[0].subnets[0];
        assert_eq!((*used, *cooling, *kept, pool), (2, 1, 3, &None), "{told:?}");
        assert_eq!(used + reserve + quarantined + free + kept, 256, "{told:?}");
        let aside = blocks.iter().find(|block| block.prefix.contains(lost)).unwrap();
        assert!(aside.quarantined && aside.host_name.is_none(), "{aside:?}");
        let HeldAddress { host_name, endpoint, name, holder, .. } = holder_of(&told, mine.addresses[0]);
        assert_eq!(host_name.unwrap().as_str(), "h1");
        assert_eq!((endpoint, name), (Some(mine.id), Some(mine.name)));
        assert_eq!(holder, Some(format!("docker:{}", mine.id.short())));
        let other = holder_of(&told, theirs.addresses[0]);
        assert_eq!((other.host_name.unwrap().as_str(), other.endpoint), ("h2", Some(theirs.id)));
        assert_eq!(other.holder, None, "only its host knows");
        assert!(told.networks[0].held.iter().all(|held| held.address != short && held.address != lost));

        let theirs = ipam(&world, H2).await;
        let counts = |told: &IpamStatus| {
            let SubnetIpam { used, reserve, quarantined, free, .. } = told.networks[0].subnets[0].clone();
            [used, reserve, quarantined, free]
        };
        world.until("h2 has heard that it is gone", |world| world.heard(H2).len() == 2).await;
        assert_eq!(counts(&ipam(&world, H2).await), counts(&told));
        assert!(theirs.networks[0].subnets[0].blocks.iter().any(|block| block.cooling.is_none()));
        world
    });
}

#[test]
fn neither_hosts_that_join_nor_what_is_mended_at_once_make_a_fault_that_is_told() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        sleep(SETTLED).await;
        for host in [H1, H2, H3] {
            let events = world.hosts[host].agent().events().after(0);
            let faults: Vec<_> = events.iter().filter(|event| event.kind == EventKind::FaultCame).collect();
            assert!(faults.is_empty() && events.len() > 2, "{events:?}");
        }
        // A change that the kernel does not take at once.
        let kernel = world.hosts[H1].kernel.clone();
        kernel.fail(Fault { table: Table::Routes, object: None, times: None });
        world.network(H1, "web", &["10.99.0.0/24"]).await.unwrap();
        let failures = |world: &World| world.hosts[H1].member().kernel.borrow().failures.len();
        world.until("the kernel refuses", |world| failures(world) > 0).await;
        // Long enough to be seen, too short to be told.
        sleep(Duration::from_millis(300)).await;
        kernel.heal();
        world.hosts[H1].dirty.notify_one();
        world.until("the kernel takes it", |world| failures(world) == 0).await;
        sleep(SETTLED).await;
        let events = world.hosts[H1].agent().events().after(0);
        assert!(events.iter().all(|event| event.kind != EventKind::FaultCame), "{events:?}");
        world.hosts[H3].crash().await;
        world
            .until("the fault is told", |world| {
                let events = world.hosts[H1].agent().events().after(0);
                let told = "the agent of host h3 does not answer; next: on h3: hopsack status";
                events.iter().any(|event| event.kind == EventKind::FaultCame && event.text == told)
            })
            .await;
        world
    });
}

#[test]
fn a_host_that_is_examined_asks_all_others_and_says_who_does_not_answer() {
    play(SEED, |mut world| async move {
        world.cluster().await;
        sleep(SETTLED).await;
        world.cut(H1, H3);
        let told = world.call(H1, "examine", |api| async move { api.examine().await }).await.unwrap();
        let [h2, h3] = &told.peers[..] else { panic!("{told:?}") };
        let answer = h2.answer.clone().unwrap();
        assert_eq!((answer.clock_ahead, answer.version.as_str()), (0, env!("CARGO_PKG_VERSION")));
        assert_eq!((h2.alive, &h2.error, h2.kinds.get(&PathKind::Direct)), (true, &None, Some(&true)));
        assert!(h2.last_heard.is_some_and(|ago| ago < 10), "{h2:?}");
        assert!(h3.answer.is_none() && h3.error.is_some(), "{h3:?}");
        assert_eq!(told.settings.get("net/ipv4/ip_forward").map(String::as_str), Some("1"));
        world
    });
}
