//! Network namespaces with names of their own, and a state put into one by `ip` and `nft`: enough for a test of
//! plans, without the crate that reconciles real kernels.

use hopsack_nft::render_table;
use hopsack_plan::HostState;
use hopsack_plan::state::{Container, Link, LinkKind, Route, RouteKey, RouteTarget};
use hopsack_types::firewall::Firewall;
use hopsack_types::{Family, IfName};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Namespaces that go when this does.
pub struct Namespaces {
    prefix: String,
    names: Vec<String>,
}

impl Namespaces {
    pub fn new(names: &[&str]) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("hopsack-plan-{}-{number}-", std::process::id());
        let mut made = Self { prefix, names: vec![] };
        for name in names {
            let full = made.name(name);
            let output = Command::new("ip").args(["netns", "add", &full]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            made.names.push(full);
            // Until it knows that its link-local address is the only one, a router asks nobody for a neighbour.
            made.sh(name, "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad");
        }
        made
    }

    /// A namespace's name as `ip netns` knows it.
    pub fn name(&self, short: &str) -> String {
        format!("{}{short}", self.prefix)
    }

    fn run(&self, at: &str, script: &str) -> Output {
        let mut child = Command::new("ip")
            .args(["netns", "exec", &self.name(at), "sh", "-e", "-s"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs a script that must succeed.
    pub fn sh(&self, at: &str, script: &str) {
        self.output(at, script);
    }

    /// Runs a script that must succeed, for what it prints.
    pub fn output(&self, at: &str, script: &str) -> String {
        let output = self.run(at, script);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "in {at}:\n{script}\n{errors}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &errors
    }

    /// Whether a script succeeds.
    pub fn succeeds(&self, at: &str, script: &str) -> bool {
        self.run(at, script).status.success()
    }

    /// A veth pair between two namespaces.
    pub fn pair(&self, a: &str, name: &str, b: &str, other: &str) {
        self.sh(a, &format!("ip link add {name} type veth peer name {other} netns {}", self.name(b)));
    }

    /// Puts a host's state into its namespace.
    pub fn apply(&self, at: &str, state: &HostState) {
        let mut script = String::new();
        for (name, link) in &state.links {
            add_link(&mut script, name, link);
        }
        for (name, net) in &state.addresses {
            let nodad = if net.addr().is_ipv6() { "nodad" } else { "" };
            let _ = writeln!(script, "ip addr add {net} dev {name} {nodad}");
        }
        for (path, value) in &state.sysctls {
            let _ = writeln!(script, "echo {value} > /proc/sys/{path}");
        }
        for ((name, address), mac) in &state.neighbours {
            let _ = writeln!(script, "ip neigh add {address} lladdr {mac} dev {name}");
        }
        for ((name, mac), outer) in &state.fdb {
            let _ = writeln!(script, "bridge fdb add {mac} dev {name} dst {outer}");
        }
        for rule in &state.rules {
            let family = if rule.family == Family::V4 { "-4" } else { "-6" };
            let (preference, mark, table) = (rule.preference, rule.mark, rule.table);
            let _ =
                writeln!(script, "ip {family} rule add pref {preference} fwmark {mark}/{mark} table {table}");
        }
        self.sh(at, &script);
        self.apply_firewall(at, &state.firewall);
        // Devices first, then what leads to gateways on them.
        let (mut routes, mut containers) = (String::new(), vec![]);
        for (key, route) in &state.routes {
            add_route(&mut routes, key, route);
        }
        self.sh(at, &routes);
        for link in state.links.values() {
            if let LinkKind::Veth { peer, container: container @ Container::Namespace { path, .. }, .. } =
                &link.kind
            {
                self.sh(at, &format!("ip link set {peer} netns {}", path.display()));
                containers.push((peer, container));
            }
        }
        for (peer, container) in containers {
            self.configure(peer, container);
        }
    }

    /// Puts the table of a firewall in place of the one that is there.
    pub fn apply_firewall(&self, at: &str, firewall: &Firewall) {
        let table = render_table(firewall);
        self.sh(
            at,
            &format!("nft -f - <<'END'\nadd table inet hopsack\ndelete table inet hopsack\n{table}END\n"),
        );
    }

    fn configure(&self, peer: &IfName, container: &Container) {
        let Container::Namespace { path, interface, addresses, routes, .. } = container else { return };
        let short = path.to_str().unwrap().strip_prefix(&self.prefix).unwrap();
        let mut script =
            format!("ip link set {peer} name {interface}; ip link set {interface} up; ip link set lo up\n");
        for address in addresses {
            let nodad = if address.is_ipv6() { "nodad" } else { "" };
            let _ = writeln!(script, "ip addr add {address} dev {interface} {nodad}");
        }
        for (destination, next_hop) in routes {
            let _ = writeln!(script, "ip route replace {next_hop} dev {interface}");
            let _ = writeln!(script, "ip route add {destination} via {next_hop} dev {interface}");
        }
        self.sh(short, &script);
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            let _gone = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn add_link(script: &mut String, name: &IfName, link: &Link) {
    let mac = link.mac.map(|mac| format!("address {mac}")).unwrap_or_default();
    let kind = match &link.kind {
        LinkKind::Holder => "bridge".to_owned(),
        LinkKind::Vxlan { vni, port, local } => {
            format!("vxlan id {vni} dstport {port} local {local} nolearning noudpcsum")
        }
        LinkKind::Veth { peer, peer_mac, .. } => format!("veth peer name {peer} address {peer_mac}"),
    };
    let _ = writeln!(script, "ip link add {name} {mac} mtu {} type {kind}; ip link set {name} up", link.mtu);
}

fn add_route(script: &mut String, RouteKey { table, destination, metric, tos }: &RouteKey, route: &Route) {
    let (kind, target) = match &route.target {
        RouteTarget::Via { next_hop, device } => ("", format!("via {next_hop} dev {device} onlink")),
        RouteTarget::Device(device) => ("", format!("dev {device}")),
        RouteTarget::Local(device) => ("local", format!("dev {device}")),
        RouteTarget::Unreachable => ("unreachable", String::new()),
        RouteTarget::Blackhole => ("blackhole", String::new()),
    };
    let source = route.source.map(|source| format!("src {source}")).unwrap_or_default();
    let mtu = route.mtu.map(|mtu| format!("mtu {mtu}")).unwrap_or_default();
    let metric = metric.map(|metric| format!("metric {metric}")).unwrap_or_default();
    let _ = writeln!(
        script,
        "ip route add {kind} {destination} tos {tos:#x} {target} table {table} proto 72 {metric} {source} {mtu}"
    );
}
