//! Anything that users and bad luck do, in any order: in the end Docker and Hopsack agree on every host, and nothing is
//! left. `HOPSACK_SOAK_SEED` and `HOPSACK_SOAK_STEPS` choose another run; the seed decides what is tried, what that meets
//! depends on time as well. What was done is told after a failure, and always with `HOPSACK_SOAK_TELL`.

use super::agreement::Guest;
use super::*;
use hopsack_lab::{AGENT, Afterwards, Signal, require};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

const SEED: u64 = 1;
/// Operations, on all hosts together.
const STEPS: u64 = 200;
/// Operations between two looks whether all agree; trouble is made in the second half of them.
const CHAPTER: u64 = 100;
/// The host whose containers outlive their engine.
const LIVE: &str = "h3";
/// No more containers than this on one host, so that operations on those that are there are as likely as new ones.
const CROWD: usize = 6;
/// Networks at once.
const NETWORKS: usize = 5;
/// What goes wrong does so within the first milliseconds of an operation.
const LONG: u64 = 900;
/// An operation that takes longer hangs. Docker tries for 15 s to reach a plugin, several times in one command.
const HANGS: Duration = Duration::from_secs(80);

/// What one host does in one round.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Operation {
    /// A command line.
    Line(String),
    /// The first process of a container is killed.
    KillProcess(String),
    /// A service, or both, restart: politely, or after `kill -9`.
    Restart { services: Vec<&'static str>, kill: bool },
    /// The host loses its power and boots.
    Boot,
}

/// What has been done, for people.
#[derive(Debug)]
struct Record {
    operation: Operation,
    /// Why it failed.
    failure: Option<String>,
    took: Duration,
}

/// What a host's engine says before an operation.
struct Here {
    guests: Vec<Guest>,
    networks: Vec<String>,
}

struct Soak {
    engines: Engines,
    history: History,
}

/// Everything that was done, told when the test fails.
struct History {
    seed: u64,
    lines: Mutex<String>,
}

impl History {
    fn note(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(lines, "{line}").unwrap();
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if thread::panicking() {
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("HOPSACK_SOAK_SEED={} failed. What was done:\n{lines}", self.seed);
        }
    }
}

/// Numbers of new names and subnets: those of each host by themselves, so that none is used twice.
fn fresh(host: &str, round: u64) -> String {
    format!("{round}{host}")
}

impl Soak {
    fn look(&self, host: &str) -> Result<Here, String> {
        let networks = self.engines.listed(host)?;
        Ok(Here { guests: self.engines.guests(host, &networks)?, networks })
    }

    /// Draws what goes wrong on a host.
    fn misfortune(dice: &mut StdRng) -> Operation {
        match dice.random_range(0..10) {
            0 => Operation::Boot,
            1..=4 => Operation::Restart { services: vec![AGENT], kill: dice.random() },
            5..=7 => Operation::Restart { services: vec![ENGINE], kill: dice.random() },
            _ => Operation::Restart { services: vec![ENGINE, AGENT], kill: dice.random() },
        }
    }

    /// Draws what a user does next on a host. Whatever is drawn, can be tried.
    fn wish(&self, dice: &mut StdRng, host: &'static str, round: u64) -> Operation {
        let Ok(Here { guests, networks }) = self.look(host) else {
            return Operation::Line("docker info".to_owned());
        };
        let network = networks.choose(dice);
        let guest = guests.choose(dice);
        let number = fresh(host, round);
        let new = |options: String| {
            format!("docker run -d --name c{number} --stop-signal KILL {options} {IMAGE} sleep 100000")
        };
        Operation::Line(match (dice.random_range(0..20), guest, network) {
            (0..=1, ..) | (_, _, None) if networks.len() < NETWORKS => {
                let third = round % 250;
                let second = 60 + HOSTS.iter().position(|name| *name == host).unwrap();
                let v4 = format!("--subnet 10.{second}.{third}.0/26");
                let subnets = match dice.random() {
                    true => format!("--ipv6 {v4} --subnet fd60:{second}:{third}::/64"),
                    false => v4.clone(),
                };
                match dice.random_range(0..4) {
                    0 => format!("hopsack network create n{number} {v4}"),
                    1 => format!("docker {CREATE} n{number}"),
                    _ => format!("docker {CREATE} {subnets} n{number}"),
                }
            }
            (2, _, Some(network)) => format!("docker network rm {network}"),
            (3, _, Some(network)) => format!("hopsack network rm {network}"),
            (4..=8, _, Some(network)) if guests.len() < CROWD => {
                let always = if dice.random_ratio(1, 3) { "--restart always" } else { "" };
                let port = match dice.random_ratio(1, 3) {
                    true => format!("-p {}:80", dice.random_range(8000..8005)),
                    false => String::new(),
                };
                new(format!("--net {network} {always} {port}"))
            }
            (9..=10, _, Some(network)) if guests.len() < CROWD => {
                let last = dice.random_range(10..16);
                match self.subnet_of(network) {
                    Some(prefix) => new(format!("--net {network} --ip {prefix}{last}")),
                    None => new(format!("--net {network}")),
                }
            }
            (11..=12, Some(guest), Some(network)) if !guest.networks.contains(network) => {
                format!("docker network connect {network} {}", guest.name)
            }
            (13, Some(guest), _) if !guest.networks.is_empty() => {
                let networks: Vec<&String> = guest.networks.iter().collect();
                format!("docker network disconnect {} {}", networks.choose(dice).unwrap(), guest.name)
            }
            (14, Some(guest), _) if guest.runs => return Operation::KillProcess(guest.name.clone()),
            (15, Some(guest), _) if guest.runs => format!("docker stop {}", guest.name),
            (15..=16, Some(guest), _) if !guest.runs => format!("docker start {}", guest.name),
            (16, Some(guest), _) => format!("docker restart {}", guest.name),
            (17..=19, Some(guest), _) => format!("docker rm -f {}", guest.name),
            _ => "hopsack status".to_owned(),
        })
    }

    /// What the addresses of a network's IPv4 subnet begin with.
    fn subnet_of(&self, network: &str) -> Option<String> {
        let told = self.engines.ask("h1", &["hopsack", "network", "ls", "-o", "json"]).ok()?;
        let told: Value = serde_json::from_str(&told).ok()?;
        let known = told.as_array()?.iter().find(|known| known["name"] == network)?;
        let subnet = known["subnets"].as_array()?.iter().find_map(Value::as_str)?;
        subnet.rsplit_once(".0/").map(|(prefix, _)| format!("{prefix}."))
    }

    fn carry_out(&self, host: &str, operation: &Operation) -> Result<(), String> {
        let place = self.engines.host(host);
        match operation {
            Operation::Line(line) => {
                let argv: Vec<&str> = line.split_whitespace().collect();
                let output = place.program(&argv).patience(HANGS).output().map_err(|error| error.chain())?;
                if output.success() { Ok(()) } else { Err(output.stderr.trim().to_owned()) }
            }
            Operation::KillProcess(container) => {
                let pid =
                    self.engines.ask(host, &["docker", "inspect", "-f", "{{.State.Pid}}", container])?;
                if pid == "0" {
                    return Ok(());
                }
                self.engines.ask(host, &["kill", "-9", &pid]).map(drop)
            }
            Operation::Restart { services, kill } => {
                for service in services {
                    let restarted = match kill {
                        true => place.kill(service, Signal::SIGKILL, Afterwards::Respawn),
                        false => place.restart(service).map(drop),
                    };
                    restarted.map_err(|error| error.chain())?;
                }
                Ok(())
            }
            Operation::Boot => {
                let booted = self.engines.scene.lab.restart_host(host).unwrap();
                for service in [ENGINE, AGENT] {
                    booted.start(service).unwrap();
                }
                Ok(())
            }
        }
    }

    /// One operation on each host at once, and in the middle of some of them something that goes wrong there.
    fn round(&self, round: u64, trouble: bool) -> Vec<Record> {
        thread::scope(|scope| {
            let mut all = Vec::new();
            for (number, host) in (0..).zip(HOSTS) {
                let mut dice = StdRng::seed_from_u64(self.history.seed.wrapping_add(round * 3 + number + 1));
                if trouble && dice.random_ratio(1, 2) {
                    let misfortune = Self::misfortune(&mut dice);
                    let moment = Instant::now() + Duration::from_millis(dice.random_range(0..LONG));
                    all.push(scope.spawn(move || {
                        wait::until("the moment to come", HANGS, || Instant::now() >= moment).unwrap();
                        self.record(round, host, misfortune)
                    }));
                }
                all.push(scope.spawn(move || {
                    let wish = self.wish(&mut dice, host, round);
                    self.record(round, host, wish)
                }));
            }
            all.into_iter().map(|host| host.join().unwrap()).collect()
        })
    }

    fn record(&self, round: u64, host: &'static str, operation: Operation) -> Record {
        let begin = Instant::now();
        let failure = self.carry_out(host, &operation).err();
        let took = begin.elapsed();
        let told = failure.as_deref().unwrap_or("done");
        self.history.note(&format!("{round:3} {host} {operation:?} ({:.1} s): {told}", took.as_secs_f32()));
        Record { operation, failure, took }
    }

    /// Whether nothing but the state of the world explains a failure while nobody makes trouble.
    fn is_excused(&self, record: &Record, failure: &str, round: &[Record]) -> bool {
        let Operation::Line(line) = &record.operation else {
            // A container may end before its process is killed.
            return failure.contains("No such process");
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let ends = |network: &str| {
            round.iter().any(|other| match &other.operation {
                Operation::Line(line) => line.ends_with(&format!("network rm {network}")),
                _ => false,
            })
        };
        let is_removal = line.contains("network rm");
        let in_use = is_removal
            && ["in use", "has active endpoints", "stays, because"].iter().any(|text| failure.contains(text));
        // Docker takes no `--ip` in a network that was made on the same host without `--subnet`.
        let taken = ["is in use", "is being used", "networks with user configured subnets"];
        let taken = line.contains("--ip ") && taken.iter().any(|text| failure.contains(text));
        // A container that was made in vain for that asks for the same address again when it is started.
        let taken = taken || line.starts_with("docker start") && failure.contains("is in use in network");
        let busy = failure.contains("of this host is published for");
        // Two removed it, or one removed it under the other's hands. What a container was in is gone with its network, and
        // Docker knows the network that came back by another id.
        let gone = ["not found", "no network", "no hopsack network", "No such network", "is being removed"];
        let gone = gone.iter().any(|text| failure.contains(text))
            && (words.iter().any(|word| ends(word))
                || is_removal
                || line.starts_with("docker start")
                || line.starts_with("docker restart"));
        in_use || taken || busy || gone
    }

    /// Makes all whole again and looks whether all agree.
    fn settle(&self) {
        let begin = Instant::now();
        self.engines.scene.lab.heal().unwrap();
        for host in HOSTS {
            for service in [ENGINE, AGENT] {
                self.engines.host(host).start(service).unwrap();
            }
            self.engines.await_engine(host);
            self.engines.scene.await_agent(host);
        }
        self.engines.scene.await_paths();
        self.engines.await_agreement();
        self.history.note(&format!("all agree after {:.1} s", begin.elapsed().as_secs_f32()));
    }

    fn play(&self, steps: u64) {
        let mut dice = StdRng::seed_from_u64(self.history.seed);
        let (mut round, mut done, mut chapter) = (0, 0, 1);
        while done < steps {
            let trouble = done >= chapter * CHAPTER - CHAPTER / 2;
            if trouble && dice.random_ratio(1, 4) {
                self.engines.scene.lab.heal().unwrap();
                let cut = *HOSTS.choose(&mut dice).unwrap();
                let others: Vec<&str> = HOSTS.into_iter().filter(|host| *host != cut).collect();
                if dice.random() {
                    self.history.note(&format!("    {cut} is cut off"));
                    self.engines.scene.lab.partition(&[cut], &others).unwrap();
                } else {
                    self.history.note("    all is healed");
                }
            }
            let records = self.round(round, trouble);
            for record in &records {
                assert!(record.took < HANGS, "{record:?}");
                if let Some(failure) = record.failure.as_deref().filter(|_| !trouble) {
                    assert!(self.is_excused(record, failure, &records), "{record:?}");
                }
            }
            round += 1;
            done += records.len() as u64;
            if done >= chapter * CHAPTER {
                chapter += 1;
                self.settle();
            }
        }
        self.settle();
    }

    /// Removes every container and every network, each where it is likely to be.
    fn clear(&self) {
        for host in HOSTS {
            let here = self.look(host).unwrap();
            let all: Vec<&str> = here.guests.iter().map(|guest| guest.name.as_str()).collect();
            if !all.is_empty() {
                self.engines.docker(host, &format!("rm -f {}", all.join(" ")));
            }
        }
        self.engines.await_agreement();
        let networks: BTreeSet<String> = self.look("h2").unwrap().networks.into_iter().collect();
        for network in networks {
            self.engines.scene.hopsack("h2", &["network", "rm", &network]);
        }
        self.engines.await_agreement();
        for host in HOSTS {
            assert_eq!(self.look(host).unwrap().networks, Vec::<String>::new(), "{host}");
        }
    }
}

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn after_two_hundred_random_operations_docker_and_hopsack_agree_and_nothing_is_left() {
    require!(Root, Docker, Busybox, Vxlan, Nft);
    let (seed, steps) = (number("HOPSACK_SOAK_SEED", SEED), number("HOPSACK_SOAK_STEPS", STEPS));
    println!("HOPSACK_SOAK_SEED={seed} HOPSACK_SOAK_STEPS={steps}");
    let engines = Engines::cluster();
    engines.host(LIVE).configure_engine(LIVE_RESTORE).unwrap();
    engines.host(LIVE).restart(ENGINE).unwrap();
    engines.await_engine(LIVE);
    let soak = Soak { engines, history: History { seed, lines: Mutex::default() } };
    soak.play(steps);
    soak.clear();
    if std::env::var_os("HOPSACK_SOAK_TELL").is_some() {
        println!("{}", soak.history.lines.lock().unwrap());
    }
    soak.engines.end();
}
