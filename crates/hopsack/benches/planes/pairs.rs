//! The hosts that packets go between: two for each plane, all in one lab and all up at once.

use super::{hand, hopsack, load, overlay};
use crate::PROGRAM;
use crate::cells::{Plane, Regime};
use hopsack_lab::{
    AGENT, AgentOptions, Host, HostSpec, Inside, Lab, LabError, Options, Place, Running, SegmentSpec,
    Topology, wait,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Where packets between containers pass as they are.
const OPEN: &str = "lan1";
/// Where they do not, as in a cloud, so that all ways there are tunnels.
const STRICT: &str = "lan2";
/// What the switch of the strict segment drops. One rule, whoever the packet is of.
const FOREIGN: &str = "ether type ip ip saddr != 10.77.0.0/16";
/// How long agents may take to answer, and a container to be reached.
const SOON: Duration = Duration::from_secs(30);

/// Two ends, and who listens at the second.
pub struct Pair {
    /// Where loads come from.
    pub client: Place,
    /// The server's address.
    pub address: IpAddr,
    /// The core that both are pinned on.
    pub core: String,
    /// Ends with the pair.
    _server: Running,
}

/// All pairs.
pub struct Pairs {
    lab: Lab,
    pairs: BTreeMap<Plane, Pair>,
}

/// The hosts of a plane, and their segment.
const fn hosts(plane: Plane) -> ([&'static str; 2], &'static str) {
    match plane {
        Plane::Host => (["host1", "host2"], OPEN),
        Plane::HandDirect => (["hand1", "hand2"], OPEN),
        Plane::HopsackDirect => (["hop1", "hop2"], OPEN),
        Plane::HandVxlan => (["hand3", "hand4"], STRICT),
        Plane::HopsackVxlan => (["hop3", "hop4"], STRICT),
        Plane::DockerOverlay => (["docker1", "docker2"], STRICT),
    }
}

impl Pairs {
    /// Makes them all.
    pub fn up() -> Result<Self, LabError> {
        let mut topology = Topology::builder()
            .segment(SegmentSpec::new(OPEN, &["10.77.1.0/24"]))
            .segment(SegmentSpec::new(STRICT, &["10.77.2.0/24"]))
            .router("r1", &[OPEN, STRICT]);
        for plane in Plane::ALL {
            let (names, segment) = hosts(plane);
            for name in names {
                topology = topology.host(match plane {
                    Plane::DockerOverlay => HostSpec::docker(name, &[segment]),
                    _ => HostSpec::plain(name, &[segment]),
                });
            }
        }
        let mut options = Options::unique("planes", PROGRAM);
        options.agent = Some(AgentOptions::default());
        let lab = Lab::up(topology.build()?, options)?;
        lab.block(STRICT, FOREIGN)?;
        lab.load_image()?;

        let mut members = Vec::new();
        for host in lab.hosts()? {
            if !host.name().starts_with("hop") {
                host.stop(AGENT)?;
                continue;
            }
            wait::value(&format!("the agent of {}", host.name()), SOON, || {
                host.run(&[PROGRAM, "status"]).map_err(|_| host.log_tail(AGENT, 12))
            })?;
            members.push(host);
        }
        hopsack::form(&members.iter().collect::<Vec<_>>())?;

        let core = load::core();
        let mut pairs = BTreeMap::new();
        for plane in Plane::ALL {
            let ([first, second], _) = hosts(plane);
            let (first, second) = (lab.host(first)?, lab.host(second)?);
            let (client, server, address) = ends(plane, [&first, &second])?;
            wait::until(&format!("{} to carry packets", plane.name()), SOON, || {
                client.reaches(address).unwrap_or(false)
            })?;
            let server = load::serve(&server, &core)?;
            pairs.insert(plane, Pair { client, address, core: core.clone(), _server: server });
        }
        Ok(Self { lab, pairs })
    }

    /// The pair of a plane.
    pub fn of(&self, plane: Plane) -> &Pair {
        &self.pairs[&plane]
    }

    /// Lets the veths that stand for network cards cut segments, or not. What a host receives it may join again
    /// (GRO), as a plain card's driver does; a switch does neither.
    pub fn set_regime(&self, regime: Regime) -> Result<(), LabError> {
        let segmentation = match regime {
            Regime::Offload => "on",
            Regime::Wire => "off",
        };
        let set = |device: &str, joining: &str| {
            let words = ["ethtool", "-K", device, "tso", segmentation, "gso", segmentation];
            let more = ["tx-udp-segmentation", segmentation, "gro", joining];
            [&words[..], &more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let joining = if regime == Regime::Wire { "on" } else { "off" };
        for (names, segment) in Plane::ALL.map(hosts) {
            for name in names {
                let card = set("eth0", joining);
                self.lab.host(name)?.run(&card.iter().map(String::as_str).collect::<Vec<_>>())?;
                let port = set(name, "off");
                let port: Vec<&str> = port.iter().map(String::as_str).collect();
                self.lab.run_in_network(segment, &port)?;
            }
        }
        Ok(())
    }

    /// Takes all hosts down.
    pub fn down(self) -> Result<(), LabError> {
        drop(self.pairs);
        self.lab.down()
    }
}

/// The two ends of a plane and the address of the second, made if need be.
fn ends(plane: Plane, hosts: [&Host; 2]) -> Result<(Place, Place, IpAddr), LabError> {
    match plane {
        Plane::Host => Ok((hosts[0].place().clone(), hosts[1].place().clone(), hosts[1].address()?)),
        Plane::HandDirect => hand::make(hosts, hand::Backend::HostGateway),
        Plane::HandVxlan => hand::make(hosts, hand::Backend::Vxlan),
        Plane::HopsackDirect => hopsack::make(hosts, "direct"),
        Plane::HopsackVxlan => hopsack::make(hosts, "vxlan"),
        Plane::DockerOverlay => overlay::make(hosts),
    }
}
