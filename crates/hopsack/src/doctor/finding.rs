//! What one look has found.

use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is about.
    pub subject: Subject,
    /// Whether it is well.
    pub verdict: Verdict,
    /// What is so, in one line.
    pub found: String,
    /// What to type next, where something is to be done.
    pub next: Option<String>,
}

/// What is looked at. The names in JSON are stable; new ones may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The agent of this host.
    Agent,
    /// The kernel and what of it is used.
    Kernel,
    /// The `nft` program.
    Nft,
    /// The Docker engine.
    Docker,
    /// Ports that Hopsack takes.
    Ports,
    /// Wall clocks of the hosts.
    Clocks,
    /// Sizes of packets.
    Mtu,
    /// Kernel settings.
    Forwarding,
    /// Firewalls of others.
    Firewalls,
    /// The other hosts.
    Peers,
    /// The state directory.
    State,
}

impl Subject {
    /// As people see it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Kernel => "kernel",
            Self::Nft => "nft",
            Self::Docker => "docker",
            Self::Ports => "ports",
            Self::Clocks => "clocks",
            Self::Mtu => "mtu",
            Self::Forwarding => "forwarding",
            Self::Firewalls => "firewalls",
            Self::Peers => "peers",
            Self::State => "state",
        }
    }
}

/// How it is, worse ones later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, or may; somebody should look.
    Warn,
    /// Something does not work.
    Fail,
}

impl Verdict {
    /// As people see it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Finding {
    /// It is as it should be.
    pub fn ok(subject: Subject, found: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Ok, found: found.into(), next: None }
    }

    /// Somebody should look.
    pub fn warn(subject: Subject, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Warn, found: found.into(), next: Some(next.into()) }
    }

    /// Something does not work.
    pub fn fail(subject: Subject, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Fail, found: found.into(), next: Some(next.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_and_verdicts_are_called_the_same_in_text_and_in_json() {
        assert_eq!(serde_json::to_value(Subject::Forwarding).unwrap(), Subject::Forwarding.word());
        assert_eq!(serde_json::to_value(Verdict::Warn).unwrap(), Verdict::Warn.word());
        assert!(Verdict::Fail > Verdict::Warn && Verdict::Warn > Verdict::Ok);
    }
}
