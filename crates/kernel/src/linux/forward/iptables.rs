//! Forward chains that `iptables` writes: Docker's, ufw's, the host's own. Our rule is first in `DOCKER-USER`, where
//! Docker leaves its users' rules alone, else in `FORWARD`. Docker takes its jump to `DOCKER-USER` away for some ten
//! milliseconds whenever it makes a network or starts, so the rule is in `FORWARD` as well, where it is left alone too.
//!
//! There are two flavours of `iptables`, each with rules of its own, and packets pass both: each whose rules are in
//! use is looked at.

use super::{LABEL, feed, run, search};
use crate::KernelError;
use hopsack_types::Family;
use hopsack_types::numbers::ACCEPT_MARK;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The chain that Docker makes for its users, jumps to first, and never flushes.
const USERS_CHAIN: &str = "DOCKER-USER";
/// Docker's rule that leads there.
const USERS_JUMP: &str = "-j DOCKER-USER";
/// The built-in chain.
const FORWARD_CHAIN: &str = "FORWARD";
/// How long `iptables` waits for another one that holds its lock.
const LOCK_SECONDS: &str = "5";

/// Where a program keeps its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flavour {
    /// In nftables.
    Nft,
    /// In the older interface of its own.
    Legacy,
}

#[derive(Debug, Clone)]
struct Program {
    path: PathBuf,
    family: Family,
    flavour: Flavour,
}

/// What `iptables` and `ip6tables` of both flavours keep.
pub struct IpTables {
    programs: Vec<Program>,
    /// What the nft flavour said at a generation of nftables.
    seen: BTreeMap<Family, (u32, Chains)>,
}

impl IpTables {
    /// Looks for the programs.
    pub fn find() -> Self {
        let mut programs = Vec::new();
        for (family, name) in [(Family::V4, "iptables"), (Family::V6, "ip6tables")] {
            for (flavour, suffix) in [(Flavour::Nft, "-nft"), (Flavour::Legacy, "-legacy")] {
                if let Some(path) = search(&format!("{name}{suffix}")) {
                    programs.push(Program { path, family, flavour });
                }
            }
            if !programs.iter().any(|program| program.family == family)
                && let Some(path) = search(name)
            {
                programs.push(Program { flavour: flavour_of(&path), path, family });
            }
        }
        Self { programs, seen: BTreeMap::new() }
    }

    /// Nothing of others has changed between two generations of nftables.
    pub fn unchanged(&mut self, before: u32, after: u32) {
        for (seen, _) in self.seen.values_mut().filter(|(seen, _)| *seen == before) {
            *seen = after;
        }
    }

    /// What stands there of a family, of each flavour in use. `generation` is that of nftables now.
    pub fn in_use(&mut self, family: Family, generation: u32) -> Vec<Chains> {
        let programs: Vec<Program> =
            self.programs.iter().filter(|program| program.family == family).cloned().collect();
        programs
            .iter()
            .filter_map(|program| match (program.flavour, self.seen.get(&family)) {
                (Flavour::Nft, Some((seen, chains))) if *seen == generation => Some(chains.clone()),
                (flavour, _) => {
                    let chains = program.read_if_used();
                    if flavour == Flavour::Nft {
                        self.seen.insert(family, (generation, chains.clone().unwrap_or_default()));
                    }
                    chains
                }
            })
            .collect()
    }

    /// Puts our rule first where something stands in the way, or takes it away wherever it is.
    pub fn set(&mut self, family: Family, accept: bool) -> Result<(), KernelError> {
        self.seen.remove(&family);
        for program in self.programs.iter().filter(|program| program.family == family) {
            if !program.is_used() {
                continue;
            }
            let chains = program.read()?;
            let places = if accept && chains.stand_in_the_way() { chains.places() } else { &[] };
            program.change(&chains.changes(places))?;
        }
        Ok(())
    }
}

impl Program {
    /// To list a table of the legacy flavour makes it, and hooks it into every packet's way, so that flavour is asked
    /// only if the kernel has the table already.
    fn is_used(&self) -> bool {
        let names = match (self.flavour, self.family) {
            (Flavour::Nft, _) => return true,
            (Flavour::Legacy, Family::V4) => "/proc/thread-self/net/ip_tables_names",
            (Flavour::Legacy, Family::V6) => "/proc/thread-self/net/ip6_tables_names",
        };
        std::fs::read_to_string(names).is_ok_and(|names| names.lines().any(|name| name == "filter"))
    }

    fn read_if_used(&self) -> Option<Chains> {
        if !self.is_used() {
            return None;
        }
        self.read()
            .inspect_err(|error| tracing::warn!(%error, "cannot tell whether others drop what is forwarded"))
            .ok()
    }

    fn read(&self) -> Result<Chains, KernelError> {
        self.run(&["-w", LOCK_SECONDS, "-S"]).map(|listing| Chains::parse(&listing))
    }

    /// Makes changes of the filter table at once, so that no packet comes in between.
    fn change(&self, changes: &[String]) -> Result<(), KernelError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut restore = self.path.clone().into_os_string();
        restore.push("-restore");
        let text = format!("*filter\n{}\nCOMMIT\n", changes.join("\n"));
        feed(Path::new(&restore), &["-w", LOCK_SECONDS, "--noflush"], &text).map(drop)
    }

    fn run(&self, arguments: &[&str]) -> Result<String, KernelError> {
        run(&self.path, arguments)
    }
}

/// Programs without a suffix tell by their version, like `iptables v1.8.9 (nf_tables)`; old ones say nothing.
fn flavour_of(path: &PathBuf) -> Flavour {
    let said = Command::new(path).arg("-V").output().map(|output| output.stdout).unwrap_or_default();
    if String::from_utf8_lossy(&said).contains("nf_tables") { Flavour::Nft } else { Flavour::Legacy }
}

/// Our rule as `iptables -S` writes it, without chain.
fn body() -> String {
    format!("-m mark --mark {ACCEPT_MARK:#x}/{ACCEPT_MARK:#x} -m comment --comment {LABEL} -j ACCEPT")
}

/// Where our rule has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    chain: &'static str,
    /// Before all others in there.
    first: bool,
}

/// A rule that carries our label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OurRule {
    chain: String,
    /// First in its chain.
    first: bool,
    body: String,
}

/// What a listing of the filter table says about forwarding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chains {
    drop_policy: bool,
    /// Rules of others in the forward chain.
    others: bool,
    /// The first of them jumps to the chain for Docker's users. After a flush of `FORWARD` by somebody that chain is
    /// still there, and nothing leads to it until Docker starts again.
    users_first: bool,
    ours: Vec<OurRule>,
}

impl Chains {
    fn parse(listing: &str) -> Self {
        let mut chains = Self::default();
        let mut lengths: BTreeMap<&str, u32> = BTreeMap::new();
        for line in listing.lines() {
            let Some((verb, rest)) = line.split_once(' ') else { continue };
            let (chain, body) = rest.split_once(' ').unwrap_or((rest, ""));
            match verb {
                "-P" if chain == FORWARD_CHAIN => chains.drop_policy = body != "ACCEPT",
                "-A" => {
                    let length = lengths.entry(chain).or_default();
                    *length += 1;
                    if is_ours(body) {
                        let (chain, body) = (chain.to_owned(), body.to_owned());
                        chains.ours.push(OurRule { chain, first: *length == 1, body });
                    } else if chain == FORWARD_CHAIN {
                        chains.users_first |= !chains.others && body == USERS_JUMP;
                        chains.others = true;
                    }
                }
                _ => {}
            }
        }
        chains
    }

    /// Where our rule belongs. Behind Docker's jump it may stand anywhere in `FORWARD`: Docker's own rules drop nothing
    /// of ours, its policy does.
    const fn places(&self) -> &'static [Place] {
        const USERS: Place = Place { chain: USERS_CHAIN, first: true };
        match self.users_first {
            true => &[USERS, Place { chain: FORWARD_CHAIN, first: false }],
            false => &[Place { chain: FORWARD_CHAIN, first: true }],
        }
    }

    fn ours_in<'a>(&'a self, chain: &'a str) -> impl Iterator<Item = &'a OurRule> {
        self.ours.iter().filter(move |rule| rule.chain == chain)
    }

    /// The lines that put our rule at some places, first there, and take it away from all others. Rules are removed by
    /// what they say: by their numbers it might be those of others, who write meanwhile.
    fn changes(&self, places: &[Place]) -> Vec<String> {
        let wrong: Vec<&Place> = places.iter().filter(|place| !self.have(place)).collect();
        let is_right =
            |rule: &&OurRule| places.iter().any(|place| place.chain == rule.chain && self.have(place));
        let removed = self.ours.iter().filter(|rule| !is_right(rule));
        let removed = removed.map(|rule| format!("-D {} {}", rule.chain, rule.body));
        removed.chain(wrong.iter().map(|place| format!("-I {} 1 {}", place.chain, body()))).collect()
    }

    /// Whether our rule is at a place, once, and as it should be.
    fn have(&self, place: &Place) -> bool {
        let mut there = self.ours_in(place.chain);
        let right = |rule: &OurRule| (rule.first || !place.first) && rule.body == body();
        there.next().is_some_and(right) && there.next().is_none()
    }

    const fn stand_in_the_way(&self) -> bool {
        self.drop_policy || self.others
    }

    /// Whether a rule of ours is anywhere.
    pub const fn has_ours(&self) -> bool {
        !self.ours.is_empty()
    }

    /// Whether our mark passes.
    pub fn let_pass(&self) -> bool {
        let places = self.places();
        !self.stand_in_the_way()
            || (self.ours.len() == places.len() && places.iter().all(|place| self.have(place)))
    }
}

fn is_ours(body: &str) -> bool {
    let mut words = body.split(' ');
    words.any(|word| word == "--comment") && words.next() == Some(LABEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n-N DOCKER\n-N DOCKER-USER\n\
        -A FORWARD -j DOCKER-USER\n-A FORWARD -o docker0 -j DOCKER\n";

    #[test]
    fn an_empty_accepting_chain_stands_in_nobodys_way() {
        let chains = Chains::parse("-P INPUT DROP\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n");
        assert!(chains.let_pass());
    }

    #[test]
    fn dockers_chains_need_our_rule_first_in_the_users_chain_and_somewhere_in_forward() {
        let chains = Chains::parse(DOCKER);
        assert!(!chains.let_pass());
        let forward = format!("{DOCKER}-A FORWARD {}\n", body());
        let first = format!("{forward}-A DOCKER-USER {}\n-A DOCKER-USER -j RETURN\n", body());
        assert!(Chains::parse(&first).let_pass());
        let second = format!("{forward}-A DOCKER-USER -j RETURN\n-A DOCKER-USER {}\n", body());
        let alone = format!("{DOCKER}-A DOCKER-USER {}\n", body());
        let twice = format!("{first}-A DOCKER-USER {}\n", body());
        for wrong in [forward, second, alone, twice] {
            assert!(!Chains::parse(&wrong).let_pass(), "{wrong}");
        }
    }

    #[test]
    fn a_users_chain_that_nothing_leads_to_first_is_no_place_for_our_rule() {
        let ours = format!("-A DOCKER-USER {}\n", body());
        let flushed = format!("-P FORWARD DROP\n-N DOCKER-USER\n{ours}");
        let overtaken = DOCKER.replacen("-A", "-A FORWARD -j DROP\n-A", 1) + &ours;
        for listing in [flushed, overtaken] {
            let chains = Chains::parse(&listing);
            assert_eq!(chains.places(), [Place { chain: "FORWARD", first: true }], "{listing}");
            assert!(!chains.let_pass());
        }
    }

    #[test]
    fn a_drop_policy_or_any_rule_of_others_needs_our_rule() {
        for listing in ["-P FORWARD DROP\n", "-P FORWARD ACCEPT\n-A FORWARD -j ufw-before-forward\n"] {
            assert!(!Chains::parse(listing).let_pass(), "{listing}");
            let with_ours = listing.replacen('\n', &format!("\n-A FORWARD {}\n", body()), 1);
            assert!(Chains::parse(&with_ours).let_pass(), "{with_ours}");
        }
    }

    #[test]
    fn only_our_label_makes_a_rule_ours() {
        let listing = "-P FORWARD ACCEPT\n-A FORWARD -m comment --comment hopsack2 -j DROP\n";
        assert_eq!(Chains::parse(listing).ours, []);
    }
}
