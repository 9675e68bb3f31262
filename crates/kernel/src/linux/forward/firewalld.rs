//! firewalld with its nftables back end: a table of its own, whose forward chain refuses what no zone allows. A reload
//! makes the table anew, without our rules.

use super::{LABEL, run, search};
use crate::KernelError;
use hopsack_types::Family;
use hopsack_types::numbers::ACCEPT_MARK;
use std::path::PathBuf;

/// firewalld's chain as words for `nft`: family, table, chain.
const CHAIN: [&str; 3] = ["inet", "firewalld", "filter_FORWARD"];

/// firewalld's forward chain.
pub struct Firewalld {
    nft: PathBuf,
    /// What was there at a generation of nftables.
    seen: Option<(u32, Option<Chain>)>,
}

impl Firewalld {
    /// Looks for `nft`.
    pub fn find() -> Option<Self> {
        search("nft").map(|nft| Self { nft, seen: None })
    }

    /// Nothing of others has changed between two generations of nftables.
    pub fn unchanged(&mut self, before: u32, after: u32) {
        if let Some((seen, _)) = &mut self.seen
            && *seen == before
        {
            *seen = after;
        }
    }

    /// The chain, empty without firewalld. `generation` is that of nftables now.
    pub fn look(&mut self, generation: u32) -> Chain {
        if let Some((seen, chain)) = &self.seen
            && *seen == generation
        {
            return chain.clone().unwrap_or_default();
        }
        let chain = self.read().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot tell whether firewalld drops what is forwarded");
            None
        });
        self.seen = Some((generation, chain.clone()));
        chain.unwrap_or_default()
    }

    /// Puts our rule of a family before those of others, or takes it away.
    pub fn set(&mut self, family: Family, accept: bool) -> Result<(), KernelError> {
        self.seen = None;
        let Some(chain) = self.read()? else { return Ok(()) };
        for rule in chain.ours(family) {
            self.nft(&[&["delete", "rule"], &CHAIN[..], &["handle", &rule.handle]].concat())?;
        }
        if accept {
            let rule = rule(family);
            let words: Vec<&str> = rule.split(' ').collect();
            self.nft(&[&["insert", "rule"], &CHAIN[..], &words].concat())?;
        }
        Ok(())
    }

    fn read(&self) -> Result<Option<Chain>, KernelError> {
        match self.nft(&[&["-a", "list", "chain"], &CHAIN[..]].concat()) {
            Ok(listing) => Ok(Some(Chain::parse(&listing))),
            Err(KernelError::Forward { said, .. }) if said.contains("No such file or directory") => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn nft(&self, words: &[&str]) -> Result<String, KernelError> {
        run(&self.nft, words).map_err(|error| match error {
            // A table with the flag `owner` can be changed by its owner only (nft(8)).
            KernelError::Forward { said, .. } if said.contains("Operation not permitted") => {
                KernelError::FirewalldOwned
            }
            error => error,
        })
    }
}

/// Our rule of a family as words for `nft`.
fn rule(family: Family) -> String {
    format!(
        "meta nfproto {} meta mark & {ACCEPT_MARK:#x} == {ACCEPT_MARK:#x} accept comment {}",
        protocol(family),
        label(family)
    )
}

const fn protocol(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// The label of our rule of a family.
fn label(family: Family) -> String {
    format!("\"{LABEL} {}\"", protocol(family))
}

/// A rule that carries our label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OurRule {
    family: Family,
    /// Before all rules of others.
    first: bool,
    handle: String,
}

/// What firewalld's forward chain holds; nothing without firewalld.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    others: bool,
    ours: Vec<OurRule>,
}

impl Chain {
    /// Reads what `nft -a list chain` writes: a rule is what ends with a handle and does not open a block.
    fn parse(listing: &str) -> Self {
        let mut chain = Self::default();
        for line in listing.lines().map(str::trim) {
            let Some((rule, handle)) = line.rsplit_once(" # handle ") else { continue };
            if rule.ends_with('{') {
                continue;
            }
            match Family::BOTH.into_iter().find(|family| rule.ends_with(&label(*family))) {
                Some(family) => {
                    chain.ours.push(OurRule { family, first: !chain.others, handle: handle.to_owned() });
                }
                None => chain.others = true,
            }
        }
        chain
    }

    fn ours(&self, family: Family) -> impl Iterator<Item = &OurRule> {
        self.ours.iter().filter(move |rule| rule.family == family)
    }

    /// Whether our mark passes in a family.
    pub fn lets_pass(&self, family: Family) -> bool {
        let mut ours = self.ours(family);
        !self.others || (ours.next().is_some_and(|rule| rule.first) && ours.next().is_none())
    }

    /// Whether a rule of ours of a family is there.
    pub fn has_ours(&self, family: Family) -> bool {
        self.ours(family).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: &str = "table inet firewalld {\n\tchain filter_FORWARD { # handle 23\n\t\ttype filter hook forward \
        priority filter + 10; policy accept;\n\t\tct state { established, related } accept # handle 36\n\t\tjump \
        filter_FORWARD_ZONES # handle 42\n\t\treject with icmpx admin-prohibited # handle 44\n\t}\n}\n";

    fn with(family: Family, before: &str) -> String {
        let ours = format!("meta nfproto x accept comment {} # handle 178\n\t\t{before}", label(family));
        ALONE.replacen(before, &ours, 1)
    }

    #[test]
    fn each_family_needs_its_rule_before_those_of_others() {
        let alone = Chain::parse(ALONE);
        assert_eq!(Family::BOTH.map(|family| alone.lets_pass(family)), [false, false]);
        let first = Chain::parse(&with(Family::V6, "ct state {"));
        assert_eq!(Family::BOTH.map(|family| first.lets_pass(family)), [false, true]);
        let second = Chain::parse(&with(Family::V4, "jump"));
        assert!(second.has_ours(Family::V4) && !second.lets_pass(Family::V4));
    }

    #[test]
    fn without_firewalld_nothing_stands_in_the_way() {
        assert!(Chain::default().lets_pass(Family::V4));
    }
}
