//! Forward chains that `iptables` writes: Docker's, ufw's, the host's own. Our rule is first in `DOCKER-USER`, where
//! Docker leaves its users' rules alone, else in `FORWARD`.
//!
//! There are two flavours of `iptables`, each with rules of its own, and packets pass both: each whose rules are in
//! use is looked at.

use super::{LABEL, run, search};
use crate::KernelError;
use hopsack_types::Family;
use hopsack_types::numbers::ACCEPT_MARK;
use std::collections::BTreeMap;
use std::path::PathBuf;
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
            for rule in &chains.ours {
                let arguments: Vec<&str> =
                    ["-w", LOCK_SECONDS, "-D", &rule.chain].into_iter().chain(rule.body.split(' ')).collect();
                program.run(&arguments)?;
            }
            if accept && chains.stand_in_the_way() {
                let body = body();
                let arguments: Vec<&str> = ["-w", LOCK_SECONDS, "-I", chains.entry(), "1"]
                    .into_iter()
                    .chain(body.split(' '))
                    .collect();
                program.run(&arguments)?;
            }
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

    /// Where our rule belongs.
    const fn entry(&self) -> &'static str {
        if self.users_first { USERS_CHAIN } else { FORWARD_CHAIN }
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
        let rule = OurRule { chain: self.entry().to_owned(), first: true, body: body() };
        !self.stand_in_the_way() || self.ours == [rule]
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
    fn dockers_chains_need_our_rule_first_in_the_users_chain() {
        let chains = Chains::parse(DOCKER);
        assert_eq!((chains.let_pass(), chains.entry()), (false, "DOCKER-USER"));
        let first = format!("{DOCKER}-A DOCKER-USER {}\n-A DOCKER-USER -j RETURN\n", body());
        assert!(Chains::parse(&first).let_pass());
        let second = format!("{DOCKER}-A DOCKER-USER -j RETURN\n-A DOCKER-USER {}\n", body());
        assert!(!Chains::parse(&second).let_pass());
        let elsewhere = format!("{DOCKER}-A FORWARD {}\n", body());
        assert!(!Chains::parse(&elsewhere).let_pass());
        let twice = format!("{first}-A DOCKER-USER {}\n", body());
        assert!(!Chains::parse(&twice).let_pass());
    }

    #[test]
    fn a_users_chain_that_nothing_leads_to_first_is_no_place_for_our_rule() {
        let ours = format!("-A DOCKER-USER {}\n", body());
        let flushed = format!("-P FORWARD DROP\n-N DOCKER-USER\n{ours}");
        let overtaken = DOCKER.replacen("-A", "-A FORWARD -j DROP\n-A", 1) + &ours;
        for listing in [flushed, overtaken] {
            let chains = Chains::parse(&listing);
            assert_eq!((chains.let_pass(), chains.entry()), (false, "FORWARD"), "{listing}");
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
