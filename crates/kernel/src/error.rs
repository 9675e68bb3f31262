//! Why the kernel could not be read or changed.

use hopsack_ebpf::EbpfError;
use hopsack_netlink::NetlinkError;
use hopsack_nft::NftError;
use hopsack_types::{Cidr, IfName};
use std::path::PathBuf;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A netlink operation failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The fast path could not be loaded, read or written.
    #[error(transparent)]
    FastPath(#[from] EbpfError),
    /// The firewall could not be read or written.
    #[error(transparent)]
    Firewall(#[from] NftError),
    /// A device that an object is about is not there.
    #[error("there is no device {0}")]
    NoDevice(IfName),
    /// Somebody else has a link of a name that we need.
    #[error("a link named {0} is there that is not Hopsack's: rename or remove it")]
    LinkTaken(IfName),
    /// Somebody else has a route where we need one.
    #[error("a route to {0} is there that is not Hopsack's: remove it, or use another subnet")]
    RouteTaken(Cidr),
    /// The link stays down, because its policy is not in place.
    #[error("kept down until the firewall can be put in place")]
    KeptDown,
    /// The container's namespace is gone.
    #[error("the container is gone: detach the endpoint, or start its container again")]
    ContainerGone {
        /// Why its namespace cannot be entered; tells the path.
        #[source]
        source: NetlinkError,
    },
    /// The container has an interface of the wanted name.
    #[error("the container has an interface {0} already: attach it as another one")]
    InterfaceTaken(IfName),
    /// The container's end of a pair is in neither of the two namespaces where it may be.
    #[error("the container's end of the pair is in another namespace than {}", .0.display())]
    ContainerEndElsewhere(PathBuf),
    /// The rule in the forward chain of others could not be read or written.
    #[error("{program} failed: {said}")]
    Forward {
        /// `iptables-nft` and its kin.
        program: PathBuf,
        /// What it said.
        said: String,
    },
    /// firewalld lets nobody else change its table.
    #[error(
        "firewalld drops what is forwarded and lets no other program change that: set NftablesTableOwner=no in \
         /etc/firewalld/firewalld.conf and restart firewalld"
    )]
    FirewalldOwned,
    /// A program could not be run.
    #[error("cannot run {}", .program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The agent lacks rights.
    #[error("not allowed to change the network: run as root (or with CAP_NET_ADMIN and CAP_SYS_ADMIN)")]
    NotRoot,
    /// A fake kernel was told to fail here.
    #[error("the fake kernel was told to refuse this")]
    Injected,
}

impl KernelError {
    /// Whether what was to be removed is not there.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Netlink(error) => error.is_gone(),
            Self::NoDevice(_) => true,
            _ => false,
        }
    }

    /// Whether what was to be made is there already.
    pub fn is_exists(&self) -> bool {
        matches!(self, Self::Netlink(error) if error.is_exists())
    }

    /// The error and its causes in one line.
    pub fn reason(&self) -> String {
        use std::error::Error as _;
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}
