//! Whoever changes what is ours sees it come back within a second, and be counted; what is not ours is left alone.

use crate::scene::{Attached, Machine, SETTLED, Scene};
use hopsack_lab::{Host, HostKind, Inside, Topology, require, wait};
use std::time::{Duration, Instant};

/// What a change may last, on a machine that does nothing else.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Shows our table's words, sorted: the order of chains, and of elements in a set, means nothing.
pub const TABLE: &str = "nft -s list table inet hopsack | tr -s ' ,\\t{}' '\\n' | sort";

/// One way to hurt a host: a command for its shell, a command that shows what was hurt, and the counter of repairs.
struct Harm {
    shell: String,
    shows: String,
    counter: &'static str,
}

impl Harm {
    fn new(shell: impl Into<String>, shows: impl Into<String>, counter: &'static str) -> Self {
        Self { shell: shell.into(), shows: shows.into(), counter }
    }

    fn setting(name: &str, value: &str) -> Self {
        let file = format!("/proc/sys/net/{name}");
        Self::new(format!("echo {value} >{file}"), format!("cat {file}"), "sysctls")
    }
}

fn repaired(scene: &Scene, host: &str, counter: &str) -> u64 {
    scene.status(host)["cluster"]["kernel"]["repaired"][counter].as_u64().unwrap_or(0)
}

/// Runs a line in a host's shell; it must succeed.
pub fn shell(host: &Host, line: &str) -> String {
    host.run(&["sh", "-c", line]).unwrap()
}

/// What a command shows; nothing if it fails, as it does when what it shows is gone.
pub fn shown(host: &Host, line: &str) -> String {
    host.exec(&["sh", "-c", line]).unwrap().stdout
}

/// Hurts a host, and waits until nothing shows of it any more and it is counted. Gives the time from the end of the
/// harm to the end of the look that shows the host whole.
fn heals(scene: &Scene, host: &Host, harm: &Harm) -> Duration {
    let whole = shown(host, &harm.shows);
    assert!(!whole.is_empty(), "`{}` shows nothing", harm.shows);
    let count = repaired(scene, host.name(), harm.counter);
    shell(host, &harm.shell);
    let start = Instant::now();
    wait::value(&format!("the end of `{}`", harm.shell), SETTLED, || {
        let now = shown(host, &harm.shows);
        if now == whole { Ok(()) } else { Err(now) }
    })
    .unwrap();
    let took = start.elapsed();
    wait::until(&format!("`{}` to be counted", harm.shell), SETTLED, || {
        repaired(scene, host.name(), harm.counter) > count
    })
    .unwrap();
    took
}

fn heals_at_once(scene: &Scene, host: &Host, harm: &Harm) {
    let took = heals(scene, host, harm);
    eprintln!("{:>4} ms  {}", took.as_millis(), harm.shell);
    assert!(took <= AT_ONCE, "`{}` lasted {took:?}", harm.shell);
}

/// Two hosts on one segment and one behind a router, with a container on h1 and h3.
pub fn pair(machine: Machine) -> (Scene, [Attached; 2]) {
    let scene = Scene::cluster_on(machine, Topology::demo(HostKind::Plain).unwrap());
    let pair = scene.containers(["h1", "h3"]);
    (scene, pair)
}

/// The name of the only endpoint's link on a host.
fn endpoint_link(host: &Host) -> String {
    let links = shell(host, "ip -o link show | grep -o 'hopc[0-9a-f]*' | sort -u");
    assert_eq!(links.lines().count(), 1, "{links}");
    links.trim().to_owned()
}

/// Waits until both containers reach each other in both families.
pub fn still_reach_each_other(pair: &[Attached; 2]) {
    for (from, to) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
        to.addresses.iter().for_each(|address| from.await_reach(*address));
    }
}

#[test]
fn links_addresses_routes_neighbours_and_rules_come_back_within_a_second() {
    require!(Root, Nft, Vxlan, Ping);
    let (scene, pair) = pair(Machine::alone());
    let h1 = scene.host("h1");
    let endpoint = endpoint_link(&h1);
    let [c3v4, c3v6] = [pair[1].addresses[0], pair[1].addresses[1]];
    let [c1v4, c1v6] = [pair[0].addresses[0], pair[0].addresses[1]];
    let first = |line: &str| shell(&h1, line).lines().next().unwrap_or_default().trim().to_owned();
    let neighbour = first("ip neigh show dev hopvxlan nud permanent | cut -d' ' -f1");
    let forwarding = first("bridge fdb show dev hopvxlan | grep dst | cut -d' ' -f1,2,3");
    let own =
        first("ip -o -4 addr show dev hop0 | grep -o 'inet [0-9.]*/32' | grep -v 169.254 | cut -d' ' -f2");
    let far4 = first(&format!("ip route show match {c3v4} proto 72 | grep hopvxlan | cut -d' ' -f1"));
    let far6 = first(&format!("ip -6 route show match {c3v6} proto 72 | grep hopvxlan | cut -d' ' -f1"));
    let links = "ip -o -d link show | grep -E 'hop0|hopvxlan|hopc' | sed -E 's/^[0-9]+: //; s/link-netns.*//; \
                 s/qdisc.*//; s/state [A-Z]+//; s/@[^:]*//' | sort";
    let routes = "ip route show table all proto 72; ip -6 route show table all proto 72";
    let addresses = "ip -o addr show | grep -E 'hop0|hopvxlan|hopc' | sed -E 's/^[0-9]+: //; s/ +/ /g' | \
                     grep -v 'inet6 fe80.*link \\\\' | sort";
    let neighbours = "ip neigh show nud permanent | sort; ip -6 neigh show nud permanent | sort";
    let everything =
        format!("{links}; {routes}; {neighbours}; {addresses}; bridge fdb show dev hopvxlan | sort");
    let harms = [
        Harm::new("ip link del hop0", &everything, "links"),
        Harm::new("ip link del hopvxlan", &everything, "links"),
        Harm::new(format!("ip link del {endpoint}"), &everything, "links"),
        Harm::new("ip link set hop0 down", &everything, "links"),
        Harm::new("ip link set hopvxlan down", &everything, "links"),
        Harm::new(format!("ip link set {endpoint} down"), &everything, "links"),
        Harm::new("ip link set hopvxlan mtu 1300", links, "links"),
        Harm::new(format!("ip addr del {own} dev hop0"), addresses, "addresses"),
        Harm::new("ip addr flush dev hopvxlan", &everything, "addresses"),
        Harm::new("ip addr add 192.0.2.77/32 dev hop0", addresses, "addresses"),
        Harm::new(format!("ip route del {far4}"), routes, "routes"),
        Harm::new(format!("ip -6 route del {far6}"), routes, "routes"),
        Harm::new(format!("ip route del {c1v4}"), routes, "routes"),
        Harm::new(format!("ip -6 route del {c1v6}"), routes, "routes"),
        Harm::new(format!("ip route change blackhole {far4} proto 72"), routes, "routes"),
        Harm::new("ip route flush table all proto 72", routes, "routes"),
        Harm::new("ip route add unreachable 203.0.113.0/24 proto 72", routes, "routes"),
        Harm::new(format!("ip neigh del {neighbour} dev hopvxlan"), neighbours, "neighbours"),
        Harm::new(
            format!("ip neigh replace {neighbour} dev hopvxlan lladdr 02:00:00:00:00:01 nud permanent"),
            neighbours,
            "neighbours",
        ),
        Harm::new(
            format!("bridge fdb del {forwarding} dev hopvxlan"),
            "bridge fdb show dev hopvxlan | sort",
            "fdb",
        ),
        Harm::new("ip route del $(ip route show tos 0x0c proto 72 | head -n 1)", routes, "routes"),
        // As hosts of an earlier version have them.
        Harm::new(
            "ip rule add fwmark 0x10000000/0x10000000 table 46771 pref 4677 protocol 72",
            "ip rule | sort",
            "rules",
        ),
        Harm::new("ip -6 rule del pref 4677", "ip -6 rule | sort", "rules"),
    ];
    for harm in &harms {
        heals_at_once(&scene, &h1, harm);
    }
    // Whoever takes the underlay's device down takes all routes over it along.
    let harm = "ip link set eth0 down; ip link set eth0 up; ip route add default via 10.77.1.254";
    heals_at_once(&scene, &h1, &Harm::new(harm, routes, "routes"));
    still_reach_each_other(&pair);
    scene.end();
}

#[test]
fn the_firewall_comes_back_within_a_second() {
    require!(Root, Nft, Vxlan, Ping);
    let (scene, pair) = pair(Machine::alone());
    let h1 = scene.host("h1");
    let element = shell(&h1, "nft list set inet hopsack endpoints4 | grep -o '\"hopc.*[0-9]' | cut -d, -f1");
    let harms = [
        format!("nft delete element inet hopsack endpoints4 '{{ {} }}'", element.trim()),
        "nft add element inet hopsack open4 '{ 10.40.1.0/24 }'".to_owned(),
        "nft flush set inet hopsack cluster4".to_owned(),
        "nft flush chain inet hopsack endpoint_in".to_owned(),
        "nft insert rule inet hopsack forwarded accept".to_owned(),
        "nft flush table inet hopsack".to_owned(),
        "nft delete table inet hopsack".to_owned(),
        "nft flush ruleset".to_owned(),
    ];
    for harm in harms {
        heals_at_once(&scene, &h1, &Harm::new(harm, TABLE, "firewall"));
    }
    still_reach_each_other(&pair);
    scene.end();
}

#[test]
fn others_that_drop_what_is_forwarded_let_ours_pass_by_one_labelled_rule() {
    // Docker's package brings iptables.
    require!(Root, Nft, Vxlan, Ping, Docker);
    let (scene, pair) = pair(Machine::alone());
    let h1 = scene.host("h1");
    let rules = "iptables -S; ip6tables -S";
    shell(&h1, "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP");
    still_reach_each_other(&pair);
    // Not at once: what two containers say to each other may go past these chains.
    wait::until("one rule of each family", SETTLED, || {
        shown(&h1, rules).matches("--comment hopsack ").count() == 2
    })
    .unwrap();
    heals_at_once(&scene, &h1, &Harm::new("iptables -F FORWARD", rules, "forward"));
    heals_at_once(&scene, &h1, &Harm::new("ip6tables -D FORWARD 1", rules, "forward"));
    // Where Docker leaves its users' rules alone, ours is first there, and stays where it is besides.
    shell(&h1, "iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER");
    let users_chain = || shown(&h1, "iptables -S DOCKER-USER");
    wait::until("our rule in the users' chain", SETTLED, || users_chain().contains("--comment hopsack "))
        .unwrap();
    assert_eq!(shown(&h1, "iptables -S").matches("--comment hopsack ").count(), 2);
    still_reach_each_other(&pair);
    scene.end();
}

#[test]
fn settings_come_back_within_a_second() {
    require!(Root, Nft, Vxlan, Ping);
    let (scene, pair) = pair(Machine::alone());
    let h1 = scene.host("h1");
    let endpoint = endpoint_link(&h1);
    let of_endpoint = [
        ("ipv4/conf", "proxy_arp", "0"),
        ("ipv4/conf", "accept_redirects", "1"),
        ("ipv4/conf", "send_redirects", "1"),
        ("ipv4/neigh", "proxy_delay", "80"),
        ("ipv6/conf", "accept_redirects", "1"),
        ("ipv6/conf", "accept_ra", "2"),
        ("ipv6/conf", "accept_dad", "1"),
    ];
    let of_endpoint =
        of_endpoint.map(|(kind, name, value)| Harm::setting(&format!("{kind}/{endpoint}/{name}"), value));
    let of_host = [
        ("ipv4/ip_forward", "0"),
        ("ipv6/conf/all/forwarding", "0"),
        ("ipv4/conf/hopvxlan/rp_filter", "1"),
        ("ipv4/conf/eth0/rp_filter", "1"),
        ("ipv6/conf/hop0/accept_ra", "2"),
    ];
    let of_host = of_host.map(|(name, value)| Harm::setting(name, value));
    for harm in of_host.iter().chain(&of_endpoint) {
        heals_at_once(&scene, &h1, harm);
    }
    still_reach_each_other(&pair);
    scene.end();
}

#[test]
fn what_others_made_is_never_touched() {
    require!(Root, Nft, Vxlan, Ping);
    let (scene, pair) = pair(Machine::shared());
    let h1 = scene.host("h1");
    shell(
        &h1,
        "ip link add theirs type bridge && ip link set theirs up && ip addr add 192.0.2.1/24 dev theirs
         ip route add 198.51.100.0/24 via 192.0.2.2 proto static
         ip -6 route add 2001:db8::/64 dev theirs
         ip rule add fwmark 0x77 table 77 pref 4677
         ip route add default via 192.0.2.3 table 46771 metric 7
         ip neigh add 192.0.2.4 lladdr 02:00:00:00:00:04 dev theirs
         bridge fdb add 02:00:00:00:00:05 dev eth0 self permanent
         nft 'table inet theirs { chain c { type filter hook forward priority 10; counter; }; }'
         nft 'table ip hopsack { chain c { counter; }; }'",
    );
    let theirs = "ip -o link show theirs | cut -d, -f1; ip -o addr show theirs | sed 's, tentative,,'; ip route show table all | grep -E \
                  '192.0.2|198.51'; ip -6 route show 2001:db8::/64; ip rule | grep 0x77; ip neigh show 192.0.2.4; \
                  bridge fdb show dev eth0; nft -s list table inet theirs; nft -s list table ip hopsack";
    let before = shell(&h1, theirs);
    assert!(before.lines().count() > 15, "{before}");
    // Ours change much meanwhile: a network and an endpoint come and go, and all of ours is flushed.
    scene.network("more", &[]);
    scene.attach("h1", "more1", "more", &[]);
    scene.hopsack("h1", &["detach", "more1", "--network", "more"]);
    heals(&scene, &h1, &Harm::new("nft delete table inet hopsack", TABLE, "firewall"));
    heals(&scene, &h1, &Harm::new("ip link del hop0", "ip route show proto 72", "links"));
    scene.restart_agent("h1");
    scene.await_paths();
    still_reach_each_other(&pair);
    assert_eq!(shell(&h1, theirs), before);
    scene.end();
}
