//! What must be so whatever was stopped, killed or cut before: Docker and Hopsack tell the same on every host, no address
//! is there twice, and nothing is held that nobody uses.

use super::*;
use hopsack_ipam::{Book, COOL_DOWN, journal};
use hopsack_lab::Program;
use hopsack_types::Cidr;
use std::collections::{BTreeMap, BTreeSet};
use std::thread;

/// Time for all to agree after the last of the trouble: an address whose container never came to be is kept for it for
/// 35 s, and looked at every 10 s.
pub const AGREED: Duration = Duration::from_secs(75);

/// A container's interface in one of our networks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interface {
    /// The network's name.
    pub network: String,
    /// As much of Docker's id as Hopsack keeps.
    pub id: String,
    /// Addresses, v4 first.
    pub addresses: Vec<IpAddr>,
}

/// A container of an engine.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub runs: bool,
    /// The networks of ours that it is in, or will be when it starts.
    pub networks: BTreeSet<String>,
    /// Its interfaces. Of one that ended with its host or engine Docker shows those that it had.
    interfaces: Vec<Interface>,
    /// Ports of the host that are to lead to it.
    ports: BTreeSet<u64>,
    /// Its network namespace, as its host sees it.
    namespace: String,
}

/// What one host tells when it is asked in all ways.
#[derive(Debug)]
struct Told {
    guests: Vec<Guest>,
    /// Networks in Docker's list, by name.
    docker_networks: Vec<String>,
    /// Networks in Hopsack's list, by name.
    networks: Vec<String>,
    /// Endpoints that the agent has.
    endpoints: BTreeSet<Interface>,
    /// Endpoints that Docker's networks have.
    docker_endpoints: BTreeSet<Interface>,
    /// Ports that the agent has published.
    ports: BTreeSet<u64>,
    /// Addresses in use as the agent's journal tells.
    journal: BTreeSet<IpAddr>,
    /// Blocks of all networks and the hosts that they are granted to, as this host knows it; none of one that waits for
    /// a host to come back.
    grants: BTreeMap<Cidr, Option<String>>,
    /// Host ends of endpoints in the kernel.
    links: usize,
}

impl Told {
    /// What is wrong with the blocks of a host: all addresses that it uses have to be in blocks of its own.
    fn wrong_grant(&self, host: &str) -> Option<String> {
        let mut grants = self.grants.iter().peekable();
        while let Some((block, holder)) = grants.next() {
            if let Some((next, _)) = grants.peek().filter(|(next, _)| block.covers(next)) {
                return Some(format!("blocks {block} and {next} overlap"));
            }
            if !holder.as_deref().is_some_and(|holder| HOSTS.contains(&holder)) {
                return Some(format!(
                    "block {block} is held back or granted to no host of these: {holder:?}"
                ));
            }
        }
        let granted = |address: &IpAddr| {
            let block = self.grants.iter().find(|(block, _)| block.contains(*address));
            block.is_some_and(|(_, holder)| holder.as_deref() == Some(host))
        };
        let stray = self.journal.iter().find(|address| !granted(address))?;
        Some(format!("{stray} is in use, and no block of it is granted to this host"))
    }
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

impl Engines {
    /// Runs a program on a host that may fail: its output, or why not.
    pub fn ask(&self, host: &str, argv: &[&str]) -> Result<String, String> {
        let program: Program = self.host(host).program(argv);
        let output = program.output().map_err(|error| error.chain())?;
        if output.success() {
            return Ok(output.stdout.trim().to_owned());
        }
        Err(format!("{}: {}", argv.join(" "), output.stderr.trim()))
    }

    /// The networks of ours in an engine's list.
    pub fn listed(&self, host: &str) -> Result<Vec<String>, String> {
        let ls = ["docker", "network", "ls", "--filter", "driver=hopsack", "--format", "{{.Name}}"];
        let mut names: Vec<String> = self.ask(host, &ls)?.lines().map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// The containers of an engine; `ours` are the networks to look for.
    pub fn guests(&self, host: &str, ours: &[String]) -> Result<Vec<Guest>, String> {
        let all = self.ask(host, &["docker", "ps", "-aq"])?;
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let inspect: Vec<&str> = ["docker", "inspect"].into_iter().chain(all.lines()).collect();
        let told = json(&self.ask(host, &inspect)?)?;
        let guest = |told: &Value| {
            let of_ours = |name: &String| ours.contains(name);
            let networks = told["NetworkSettings"]["Networks"].as_object().cloned().unwrap_or_default();
            let interface = |(network, told): (&String, &Value)| {
                let id = told["EndpointID"].as_str().filter(|id| !id.is_empty())?.get(..32)?.to_owned();
                let addresses = ["IPAddress", "GlobalIPv6Address"].map(|field| told[field].as_str());
                let addresses =
                    addresses.into_iter().flatten().filter_map(|text| text.parse().ok()).collect();
                Some(Interface { network: network.clone(), id, addresses })
            };
            let bindings = told["HostConfig"]["PortBindings"].as_object().into_iter().flatten();
            let bindings = bindings.flat_map(|(_, all)| all.as_array().into_iter().flatten());
            Guest {
                ports: bindings.filter_map(|binding| binding["HostPort"].as_str()?.parse().ok()).collect(),
                name: told["Name"].as_str().unwrap_or_default().trim_start_matches('/').to_owned(),
                runs: told["State"]["Running"] == true,
                interfaces: networks.iter().filter(|(name, _)| of_ours(name)).filter_map(interface).collect(),
                networks: networks.keys().filter(|name| of_ours(name)).cloned().collect(),
                namespace: told["NetworkSettings"]["SandboxKey"].as_str().unwrap_or_default().to_owned(),
            }
        };
        Ok(told.as_array().into_iter().flatten().map(guest).collect())
    }

    /// The endpoints of an engine's networks.
    fn docker_endpoints(&self, host: &str, networks: &[String]) -> Result<BTreeSet<Interface>, String> {
        if networks.is_empty() {
            return Ok(BTreeSet::new());
        }
        let networks = networks.iter().map(String::as_str);
        let inspect: Vec<&str> = ["docker", "network", "inspect"].into_iter().chain(networks).collect();
        let told = json(&self.ask(host, &inspect)?)?;
        let of_network = |told: &Value| -> Vec<Interface> {
            let network = told["Name"].as_str().unwrap_or_default().to_owned();
            let endpoint = |told: &Value| {
                let id = told["EndpointID"].as_str()?.get(..32)?.to_owned();
                let address = |text: &str| text.split('/').next()?.parse().ok();
                let addresses = ["IPv4Address", "IPv6Address"].map(|field| told[field].as_str());
                let addresses = addresses.into_iter().flatten().filter_map(address).collect();
                Some(Interface { network: network.clone(), id, addresses })
            };
            told["Containers"]
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(_, told)| endpoint(told))
                .collect()
        };
        Ok(told.as_array().into_iter().flatten().flat_map(of_network).collect())
    }

    /// The addresses that a host's journal tells to be in use.
    fn journal(&self, host: &str) -> Result<BTreeSet<IpAddr>, String> {
        let file = self.host(host).var_lib().join("hopsack/addresses.journal");
        let bytes = std::fs::read(&file).map_err(|error| error.to_string())?;
        let read = journal::decode(&bytes).map_err(|error| error.to_string())?;
        let book = Book::replay(&read.records, Duration::ZERO, COOL_DOWN);
        let in_use = book.networks().flat_map(|network| network.in_use().map(|(address, _)| address));
        Ok(in_use.collect())
    }

    /// The blocks of all networks, as a host knows them.
    fn grants(&self, host: &str) -> Result<BTreeMap<Cidr, Option<String>>, String> {
        let told = json(&self.ask(host, &["hopsack", "ipam", "show", "-o", "json"])?)?;
        let all = |value: &Value, of: &str| value[of].as_array().cloned().unwrap_or_default();
        let subnets = all(&told, "networks").into_iter().flat_map(|network| all(&network, "subnets"));
        let block = |block: Value| {
            let prefix = block["prefix"].as_str().unwrap_or_default();
            let prefix = prefix.parse().map_err(|error| format!("{prefix}: {error}"))?;
            let holder = block["hostName"].as_str().filter(|_| block["quarantined"] == false);
            Ok((prefix, holder.map(str::to_owned)))
        };
        subnets.flat_map(|subnet| all(&subnet, "blocks")).map(block).collect()
    }

    fn tell(&self, host: &str) -> Result<Told, String> {
        let networks = json(&self.ask(host, &["hopsack", "network", "ls", "-o", "json"])?)?;
        let networks = networks.as_array().into_iter().flatten();
        let mut networks: Vec<String> =
            networks.filter_map(|network| Some(network["name"].as_str()?.to_owned())).collect();
        networks.sort();
        let endpoints = json(&self.ask(host, &["hopsack", "endpoint", "ls", "-o", "json"])?)?;
        let endpoint = |told: &Value| {
            let addresses = texts(&told["addresses"]).filter_map(|text| text.parse().ok()).collect();
            let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
            Interface { network: text("networkName"), id: text("id"), addresses }
        };
        let endpoints = endpoints.as_array().into_iter().flatten();
        let ports = endpoints.clone().flat_map(|told| told["ports"].as_array().into_iter().flatten());
        let ports = ports.filter_map(|port| port["host"]["port"].as_u64()).collect();
        let endpoints = endpoints.map(endpoint).collect();
        let docker_networks = self.listed(host)?;
        let links = self.ask(host, &["ip", "-o", "link"])?;
        Ok(Told {
            guests: self.guests(host, &docker_networks)?,
            docker_endpoints: self.docker_endpoints(host, &docker_networks)?,
            docker_networks,
            networks,
            endpoints,
            ports,
            journal: self.journal(host)?,
            grants: self.grants(host)?,
            links: links.lines().filter(|line| line.contains(": hopc")).count(),
        })
    }

    /// Why they do not agree.
    fn disagreement(&self) -> Result<BTreeMap<&'static str, Told>, String> {
        let told = thread::scope(|scope| {
            let asked = HOSTS.map(|host| (host, scope.spawn(move || self.tell(host))));
            let answers = asked.into_iter().map(|(host, asked)| match asked.join() {
                Ok(told) => told.map(|told| (host, told)).map_err(|error| format!("{host}: {error}")),
                Err(panic) => std::panic::resume_unwind(panic),
            });
            answers.collect::<Result<BTreeMap<_, _>, String>>()
        })?;
        let mut everywhere = BTreeMap::new();
        let networks = told.values().next().map(|told| told.networks.clone()).unwrap_or_default();
        let grants = told.values().next().map(|told| told.grants.clone()).unwrap_or_default();
        for (host, told) in &told {
            let running = told.guests.iter().filter(|guest| guest.runs);
            let of_containers: BTreeSet<Interface> =
                running.flat_map(|guest| guest.interfaces.clone()).collect();
            for (whose, of_docker) in [("containers", &of_containers), ("networks", &told.docker_endpoints)] {
                let only = |one: &BTreeSet<Interface>, other: &BTreeSet<Interface>| {
                    one.difference(other).cloned().collect::<Vec<_>>()
                };
                let (docker, hopsack) = (only(of_docker, &told.endpoints), only(&told.endpoints, of_docker));
                if !docker.is_empty() || !hopsack.is_empty() {
                    return Err(format!(
                        "{host}: only Docker's {whose} have {docker:?}, only Hopsack has {hopsack:?}"
                    ));
                }
            }
            let connected = told.guests.iter().filter(|guest| guest.runs && !guest.interfaces.is_empty());
            let wanted: BTreeSet<u64> = connected.flat_map(|guest| guest.ports.clone()).collect();
            if wanted != told.ports {
                return Err(format!("{host}: Docker wants ports {wanted:?}, published are {:?}", told.ports));
            }
            let addresses = || told.endpoints.iter().flat_map(|endpoint| endpoint.addresses.clone());
            let held: BTreeSet<IpAddr> = addresses().collect();
            if held != told.journal {
                return Err(format!("{host}: the endpoints have {held:?}, the journal {:?}", told.journal));
            }
            for address in addresses() {
                if let Some(other) = everywhere.insert(address, host) {
                    return Err(format!("{address} is on {other} and on {host}"));
                }
            }
            if let Some(wrong) = told.wrong_grant(host) {
                return Err(format!("{host}: {wrong}"));
            }
            if told.grants != grants {
                return Err(format!("{host} knows of blocks {:?}, the first host {grants:?}", told.grants));
            }
            if told.links != told.endpoints.len() {
                return Err(format!("{host}: {} links of {} endpoints", told.links, told.endpoints.len()));
            }
            if told.docker_networks != networks || told.networks != networks {
                return Err(format!(
                    "{host}: Docker has {:?}, Hopsack {:?}, the first host {networks:?}",
                    told.docker_networks, told.networks
                ));
            }
        }
        Ok(told)
    }

    /// Waits until Docker and Hopsack agree on every host, and every running container reaches all others of its networks.
    pub fn await_agreement(&self) {
        let told = wait::value("Docker and Hopsack to agree", AGREED, || self.disagreement()).unwrap();
        let running = || {
            let of_host = |(host, told): (&&'static str, &_)| -> Vec<(&'static str, Guest)> {
                let Told { guests, .. } = told;
                guests.iter().filter(|guest| guest.runs).map(|guest| (*host, guest.clone())).collect()
            };
            told.iter().flat_map(of_host)
        };
        for (host, guest) in running() {
            let place = self.host(host).in_network(&guest.namespace);
            for (_, peer) in running() {
                let of_one = peer.interfaces.iter().filter(|there| guest.networks.contains(&there.network));
                for address in of_one.flat_map(|there| there.addresses.clone()) {
                    let what = format!("{} on {host} to reach {} at {address}", guest.name, peer.name);
                    wait::until(&what, SETTLED, || place.reaches(address).unwrap()).unwrap();
                }
            }
        }
    }
}
