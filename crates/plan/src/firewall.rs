//! Our nftables table. In order: what comes in a tunnel, what comes from where, what passes through, what is for this
//! host, what is translated when it leaves.
//!
//! Promises, and where each is kept:
//! - Tunnel packets count only from members, and inside only what the sending member holds: `tunnel_in`, before the
//!   kernel unpacks them.
//! - Addresses of ours are accepted as sources only from the device they are expected on: `raw_prerouting`. What comes
//!   out of the tunnel's device has passed `tunnel_in`.
//! - Networks are isolated from each other on both ends, and nothing gets in from outside but replies: `forward4`,
//!   `forward6`.
//! - Internal networks have no way out and none in, on both ends; their containers reach of their host the gateway's
//!   address alone: `forward4`, `forward6`, `own_input`.
//! - Host addresses serve the cluster only: `own_input`.
//! - What leaves the cluster is masqueraded; tunnel packets are neither tracked nor translated, and neither is what
//!   containers of one network send each other, as on a switch of their own: `inside4`, `inside6`.
//! - No rule gives a verdict on packets that have neither to do with our devices nor with our prefixes. What our
//!   rules accept only skips the rest of our own chain; the mark lets it pass Docker's.
//! - What is published of a container is reached at this host's addresses, and nothing else of it: [`ports`].
//!
//! Sets carry all that grows, so a packet's cost does not grow with hosts, networks or endpoints.

mod ports;
mod sets;

use crate::probes::{STEERINGS, Steering};
use crate::state::HostState;
use crate::survey::Survey;
use hopsack_types::Family;
use hopsack_types::firewall::{Chain, ChainKind, Hook, HookPoint, Rule, inner_source};
use hopsack_types::numbers::{
    ACCEPT_MARK, ENDPOINT_PREFIX, HOST_DEVICE, ROUTED_VNI, VXLAN_DEVICE, VXLAN_PORT,
};
use ports::Ports;
use std::collections::BTreeMap;

/// Before connection tracking (-200), after its defragmentation (-400).
const RAW: i32 = -300;
/// Before Docker's destination translation (-100).
const BEFORE_DESTINATION_NAT: i32 = -110;
/// Before Docker's and the host's own filters (0).
const BEFORE_FILTER: i32 = -10;
/// Before Docker's source translation (100).
const BEFORE_SOURCE_NAT: i32 = 90;

/// Adds the table, and asks that what it accepts may pass the forward chains of others.
pub fn fill(survey: &Survey<'_>, state: &mut HostState) {
    let published = ports::of(survey);
    state.firewall.sets = sets::of(survey);
    state.firewall.sets.extend(published.iter().flat_map(Ports::sets));
    let mut chains = Chains(&mut state.firewall.chains);
    chains.hook("raw_prerouting", ChainKind::Filter, HookPoint::Prerouting, RAW, raw_prerouting(survey));
    chains.plain("vxlan_in", vxlan_in(survey));
    chains.plain("tunnel_in", tunnel_in(survey));
    chains.plain("endpoint_in", endpoint_in(survey));
    chains.plain("member_in", member_in(survey));
    chains.hook("raw_output", ChainKind::Route, HookPoint::Output, RAW, raw_output(survey));
    ports::fill(&published, &mut chains);
    chains.hook("forwarded", ChainKind::Filter, HookPoint::Forward, BEFORE_FILTER, forwarded(survey));
    for family in &survey.families {
        let words = Words::of(*family);
        let published = published.iter().find(|ports| ports.family == *family);
        chains.plain(&format!("endpoint_in{}", words.suffix), own_source(words));
        chains.plain(&format!("inside{}", words.suffix), inside(words, published));
        chains.plain(&format!("forward{}", words.suffix), forward(words, published));
        chains.plain(&format!("isolation{}", words.suffix), isolation(words));
    }
    chains.plain("forward_inside", forward_inside());
    chains.plain("forward_outside", forward_outside(survey));
    chains.plain("forward_accept", forward_accept());
    chains.hook("own_input", ChainKind::Filter, HookPoint::Input, BEFORE_FILTER, own_input(survey));
    let (point, priority) = (HookPoint::Postrouting, BEFORE_SOURCE_NAT);
    let mut translated = nat_postrouting(survey);
    if !published.is_empty() {
        translated.insert(0, ports::postrouting());
    }
    chains.hook("nat_postrouting", ChainKind::Nat, point, priority, translated);
    state.forward_accept = survey.families.iter().copied().collect();
    state.published = published.into_iter().flat_map(|ports| ports.leads).collect();
}

struct Chains<'a>(&'a mut BTreeMap<String, Chain>);

impl Chains<'_> {
    fn hook(&mut self, name: &str, kind: ChainKind, point: HookPoint, priority: i32, rules: Vec<Rule>) {
        self.0.insert(name.to_owned(), Chain { hook: Some(Hook { kind, point, priority }), rules });
    }

    fn plain(&mut self, name: &str, rules: Vec<Rule>) {
        self.0.insert(name.to_owned(), Chain { hook: None, rules });
    }
}

/// What differs between the families in nft's language.
#[derive(Clone, Copy)]
struct Words {
    family: Family,
    /// The IP header.
    ip: &'static str,
    /// Its ICMP.
    icmp: &'static str,
    /// The types of ICMP that tell that a packet did not arrive (RFC 792, RFC 4443).
    errors: &'static str,
    /// Ends the names of sets and chains.
    suffix: &'static str,
    /// The family, where nft asks for it.
    nfproto: &'static str,
    /// Of an inner packet, in Ethernet (IEEE 802).
    ethertype: &'static str,
}

impl Words {
    const fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self {
                family,
                ip: "ip",
                icmp: "icmp",
                errors: "destination-unreachable, time-exceeded, parameter-problem",
                suffix: "4",
                nfproto: "ipv4",
                ethertype: "0x0800",
            },
            Family::V6 => Self {
                family,
                ip: "ip6",
                icmp: "icmpv6",
                errors: "destination-unreachable, packet-too-big, time-exceeded, parameter-problem",
                suffix: "6",
                nfproto: "ipv6",
                ethertype: "0x86dd",
            },
        }
    }
}

fn words(survey: &Survey<'_>) -> impl Iterator<Item = Words> {
    survey.families.iter().copied().map(Words::of)
}

/// Each packet passes these, so what most have to do with comes first, and each looks at as little as it can.
fn raw_prerouting(survey: &Survey<'_>) -> Vec<Rule> {
    let underlay = &survey.underlay().device;
    let mut rules = vec![
        // Before those of containers, who may send the like.
        Rule::new("vxlan", format!("udp dport {VXLAN_PORT} jump vxlan_in")),
        Rule::new("from containers", format!("iifname \"{ENDPOINT_PREFIX}*\" goto endpoint_in")),
        Rule::new("this host to itself", "iifname \"lo\" accept"),
    ];
    if let Some(tunnel) = &survey.vxlan_device {
        rules.push(Rule::new("out of the tunnel", format!("iifname \"{tunnel}\" goto member_in")));
    }
    rules.extend(words(survey).map(|Words { ip, suffix, .. }| {
        let body = format!("iifname \"{underlay}\" {ip} saddr @direct{suffix} goto member_in");
        Rule::new("our sources from neighbours", body)
    }));
    rules.extend(words(survey).map(|Words { ip, suffix, .. }| {
        Rule::new("our sources from elsewhere", format!("{ip} saddr @cluster{suffix} counter drop"))
    }));
    rules
}

/// What is for this host has to be a member's. Members write to its own address, which is known without a look at the
/// routes; packets for any other of its addresses would reach the tunnel too.
fn vxlan_in(survey: &Survey<'_>) -> Vec<Rule> {
    let (ip, own) = (Words::of(survey.outer_family()).ip, survey.underlay().address);
    vec![
        Rule::new("to this host as members do", format!("{ip} daddr {own} goto tunnel_in")),
        Rule::new("to this host", "fib daddr type local goto tunnel_in"),
    ]
}

/// What other hosts and their containers send, once its source is proven.
fn member_in(survey: &Survey<'_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = words(survey).map(same_network).collect();
    // Of what most packets are not, one look tells. In numbers, because not every system has names for protocols.
    rules.push(Rule::new("no probe", "meta l4proto != { 1, 58 } accept"));
    // A check of sources, strict as firewalld makes it for IPv6, looks for the way back by this. On the way here a
    // router may have changed the type of service.
    rules.extend(words(survey).flat_map(|words| probes(words, "probes came by their own path")));
    rules
}

/// Looks into VXLAN packets (RFC 7348) before they are unpacked: network id, inner ethertype, and the inner source,
/// which has to be of the host that the outer source is.
fn tunnel_in(survey: &Survey<'_>) -> Vec<Rule> {
    let outer = Words::of(survey.outer_family()).ip;
    let mut rules: Vec<_> = survey
        .families
        .iter()
        .map(|family| {
            let (inner, Words { suffix, ethertype, .. }) = (inner_source(*family), Words::of(*family));
            let body = format!(
                "@th,96,24 {ROUTED_VNI} @th,224,16 {ethertype} {outer} saddr . {inner} @inner{suffix} notrack accept"
            );
            Rule::new("from a member with a source of its own", body)
        })
        .collect();
    rules.push(Rule::new("anything else in a tunnel", "counter drop"));
    rules
}

fn endpoint_in(survey: &Survey<'_>) -> Vec<Rule> {
    let own = |Words { ip, suffix, .. }: Words| {
        let body = format!("iifname . {ip} saddr @endpoints{suffix} goto endpoint_in{suffix}");
        Rule::new("own address", body)
    };
    let mut rules: Vec<Rule> = words(survey).map(own).collect();
    if survey.uses(Family::V6) {
        rules.push(Rule::new("on the link", "ip6 saddr fe80::/10 ip6 daddr { fe80::/10, ff02::/16 } accept"));
        rules.push(Rule::new("duplicate detection", "ip6 saddr :: icmpv6 type nd-neighbor-solicit accept"));
    }
    rules.push(Rule::new("anything else from a container", "counter drop"));
    rules
}

/// What a container sends under an address of its own.
fn own_source(words: Words) -> Vec<Rule> {
    let mut rules = vec![same_network(words)];
    if words.family == Family::V4 {
        // Where ports are published the kernel would take it (`route_localnet`); of IPv6 it never does.
        rules.push(Rule::new("the loopback of this host", "ip daddr 127.0.0.0/8 counter drop"));
    }
    rules
}

fn same_network(Words { ip, suffix, .. }: Words) -> Rule {
    Rule::new("same network", format!("{ip} saddr . {ip} daddr @same{suffix} goto inside{suffix}"))
}

/// From one container to another of its network: nothing has to be remembered of it. But the answers of a published port have to be seen, to be translated back, and what is written to it
/// directly with them; and so have errors, which may be about either.
fn inside(Words { ip, icmp, errors, suffix, .. }: Words, published: Option<&Ports>) -> Vec<Rule> {
    let mut rules = Vec::new();
    if published.is_some() {
        for (end, port) in [("saddr", "sport"), ("daddr", "dport")] {
            let body = format!("{ip} {end} . meta l4proto . th {port} @published{suffix} accept");
            rules.push(Rule::new("of a published port", body));
        }
        rules.push(Rule::new("errors", format!("{icmp} type {{ {errors} }} accept")));
    }
    let known = format!("notrack meta mark set meta mark | {ACCEPT_MARK:#x} accept");
    rules.push(Rule::new("needs no tracking", known));
    rules
}

/// Tunnel packets are not tracked. Probes of IPv6 and answers to them are marked; those of IPv4 have their type of
/// service from the start.
fn raw_output(survey: &Survey<'_>) -> Vec<Rule> {
    let Words { ip, suffix, .. } = Words::of(survey.outer_family());
    let body = format!("udp dport {VXLAN_PORT} {ip} daddr @members{suffix} notrack accept");
    let mut rules = vec![Rule::new("tunnel packets are not tracked", body)];
    let v6 = words(survey).filter(|words| words.family == Family::V6);
    rules.extend(v6.flat_map(|words| probes(words, "probes take their own path")));
    rules
}

/// Gives probes and answers what routes them by the kind of path that their identifier names.
fn probes(Words { family, ip, icmp, suffix, .. }: Words, comment: &str) -> [Rule; 2] {
    STEERINGS.map(|Steering { id, tos, mark, .. }| {
        let steer = match family {
            // The two low bits are not of the DSCP (RFC 3168, section 5).
            Family::V4 => format!("ip dscp set {:#x}", tos >> 2),
            Family::V6 => format!("meta mark set meta mark | {mark:#x}"),
        };
        let body = format!(
            "{icmp} type {{ echo-request, echo-reply }} {icmp} id {id} {ip} saddr @hosts{suffix} \
             {ip} daddr @hosts{suffix} {steer}"
        );
        Rule::new(comment, body)
    })
}

fn forwarded(survey: &Survey<'_>) -> Vec<Rule> {
    let outer = Words::of(survey.outer_family());
    let (ip, suffix) = (outer.ip, outer.suffix);
    let forged = format!(
        "udp dport {VXLAN_PORT} {ip} daddr @members{suffix} {ip} saddr != @members{suffix} counter drop"
    );
    let mut rules = vec![
        // The mark alone could be one that somebody keeps with a connection.
        Rule::new(
            "inside one network",
            format!(
                "meta mark & {ACCEPT_MARK:#x} == {ACCEPT_MARK:#x} ct state untracked goto forward_inside"
            ),
        ),
        // It would leave under this host's address, which members trust.
        Rule::new("tunnel packets made by containers", forged),
    ];
    for Words { ip, suffix, .. } in words(survey) {
        for end in ["saddr", "daddr"] {
            let body = format!("{ip} {end} @cluster{suffix} goto forward{suffix}");
            rules.push(Rule::new("ours", body));
        }
    }
    for end in ["iifname", "oifname"] {
        rules.push(Rule::new("unknown on our devices", format!("{end} \"{ENDPOINT_PREFIX}*\" counter drop")));
    }
    rules
}

/// A connection agrees on the size of its segments when it begins, in both directions.
fn segments_fit() -> Rule {
    Rule::new(
        "segments fit the path in use",
        "tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu",
    )
}

fn forward_inside() -> Vec<Rule> {
    vec![segments_fit(), Rule::new("accepted as it came in", "accept")]
}

fn forward(Words { ip, icmp, errors, suffix, .. }: Words, published: Option<&Ports>) -> Vec<Rule> {
    let mut rules = vec![
        segments_fit(),
        Rule::new("known connections", "ct state established,related goto forward_accept"),
        // What is not tracked has no known connection that an error could belong to.
        Rule::new(
            "errors told by hosts",
            format!("{ip} saddr @hosts{suffix} {icmp} type {{ {errors} }} goto forward_accept"),
        ),
        // Before published ports: they are a way out too.
        Rule::new(
            "no way out",
            format!("{ip} saddr @internal{suffix} {ip} saddr . {ip} daddr != @same{suffix} counter drop"),
        ),
        Rule::new(
            "no way in",
            format!("{ip} daddr @internal{suffix} {ip} saddr . {ip} daddr != @same{suffix} counter drop"),
        ),
    ];
    rules.extend(published.map(Ports::forward));
    rules.extend([
        Rule::new(
            "inside the cluster",
            format!("{ip} saddr @cluster{suffix} {ip} daddr @cluster{suffix} goto isolation{suffix}"),
        ),
        Rule::new(
            "from our containers to outside",
            format!("{ip} saddr @cluster{suffix} iifname \"{ENDPOINT_PREFIX}*\" goto forward_outside"),
        ),
        Rule::new("from outside", "counter drop"),
    ]);
    rules
}

fn isolation(Words { ip, suffix, .. }: Words) -> Vec<Rule> {
    let accept = |comment: &str, body: String| Rule::new(comment, format!("{body} goto forward_accept"));
    vec![
        accept("same network", format!("{ip} saddr . {ip} daddr @same{suffix}")),
        accept("open networks", format!("{ip} saddr @open{suffix} {ip} daddr @open{suffix}")),
        accept("from hosts", format!("{ip} saddr @hosts{suffix}")),
        accept("to hosts", format!("{ip} daddr @hosts{suffix}")),
        Rule::new("other networks", "counter drop"),
    ]
}

/// Other people's bridges keep their own rules: without our mark, Docker's isolation of its networks holds.
fn forward_outside(survey: &Survey<'_>) -> Vec<Rule> {
    let underlay = &survey.underlay().device;
    vec![
        Rule::new("bridges of others", format!("oifname != \"{underlay}\" meta oifkind \"bridge\" accept")),
        Rule::new("to outside", "goto forward_accept"),
    ]
}

fn forward_accept() -> Vec<Rule> {
    vec![Rule::new("accepted", format!("meta mark set meta mark | {ACCEPT_MARK:#x} accept"))]
}

fn own_input(survey: &Survey<'_>) -> Vec<Rule> {
    let mut rules = vec![
        Rule::new("tunnel packets, looked at before", format!("udp dport {VXLAN_PORT} accept")),
        Rule::new("this host to itself", "iifname \"lo\" accept"),
    ];
    if survey.uses(Family::V6) {
        // A container asks for its next hop's MAC address under its own, and none of that is tracked.
        let body = "ip6 saddr @internal6 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept";
        rules.push(Rule::new("on the link", body));
    }
    let fresh = "ct state != { established, related } counter drop";
    rules.extend(words(survey).flat_map(|Words { ip, suffix, .. }| {
        let outside = format!("{ip} daddr @own{suffix} {ip} saddr != @cluster{suffix} {fresh}");
        let internal = format!("{ip} saddr @internal{suffix} {ip} daddr != @gateways{suffix} {fresh}");
        [Rule::new("from outside", outside), Rule::new("no way out", internal)]
    }));
    rules
}

fn nat_postrouting(survey: &Survey<'_>) -> Vec<Rule> {
    let out = format!("oifname != {{ \"lo\", \"{HOST_DEVICE}\", \"{VXLAN_DEVICE}\" }}");
    words(survey)
        .flat_map(|Words { ip, suffix, .. }| {
            let leaving = format!("{ip} saddr @nat{suffix} {ip} daddr != @cluster{suffix} {out} masquerade");
            // Without translation a peer would refuse our source from its underlay.
            let members = format!("{ip} saddr @cluster{suffix} {ip} daddr @members{suffix} {out} masquerade");
            [Rule::new("leaving the cluster", leaving), Rule::new("to hosts as such", members)]
        })
        .collect()
}
