//! Errors as Docker shows them to its user: one line each, that says what to do.

use hopsack_api::ApiError;
use hopsack_api::server::BindError;
use hopsack_types::address::AddressError;
use hopsack_types::id::IdError;
use hopsack_types::option::OptionError;
use hopsack_types::port::ProtocolError;
use hopsack_types::{Cidr, NetworkName, Protocol};
use std::net::IpAddr;
use std::path::PathBuf;

/// Why something between Docker and the agent did not work.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// The agent refused.
    #[error(transparent)]
    Agent(#[from] ApiError),
    /// The plugin's socket could not be made.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// A call that is not as the protocol has it.
    #[error("hopsack does not understand Docker's call {method}: {source}")]
    Call {
        /// The protocol's method.
        method: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A call without its arguments.
    #[error(
        "Docker lost hopsack's answer to {method}, as when an agent ends, and asked again without saying for what: \
         do it once more"
    )]
    Bodiless {
        /// The protocol's method.
        method: String,
    },
    /// The network's addresses come from elsewhere.
    #[error(
        "a hopsack network needs hopsack's addresses too: \
         use `docker network create -d hopsack --ipam-driver hopsack ...`"
    )]
    ForeignAddresses,
    /// An option of a network.
    #[error("-o: {0}")]
    Option(#[from] OptionError),
    /// An option of addresses: there is none.
    #[error("unknown option --ipam-opt {option}: Hopsack's addresses have no options, leave it out")]
    UnknownIpamOption {
        /// Its key.
        option: String,
    },
    /// A way of using Docker that is not there yet.
    #[error("{flag} is not supported by hopsack networks: leave it out")]
    Unsupported {
        /// The command's flag.
        flag: &'static str,
    },
    /// A subnet without an address for what Docker always wants.
    #[error("{pool} is too small for Docker, which wants a gateway in it: give a larger subnet")]
    NoRoomForGateway {
        /// The subnet.
        pool: Cidr,
    },
    /// What was said of a subnet before is lost.
    #[error("hopsack was restarted while this network was made and does not know all of {subnet}: try again")]
    Forgotten {
        /// The subnet.
        subnet: Cidr,
    },
    /// A network without IPv4, on an engine that has none such.
    #[error(
        "network {network} has IPv6 only, which Docker can have from version 28 on: upgrade Docker on this host"
    )]
    OnlyV6 {
        /// The network.
        network: NetworkName,
    },
    /// Two networks of one container that both lead to all open ones.
    #[error(
        "the container is in network {other}, which has hopsack.gateway=docker and hopsack.isolation=none as {network} \
         has: it can be in one such network, since both lead to all that is open; leave out one of the options, or \
         disconnect it from {other} first"
    )]
    TwoWays {
        /// The network that it cannot be in.
        network: NetworkName,
        /// The one that it is in.
        other: NetworkName,
    },
    /// Neither an address nor a CIDR.
    #[error("Docker's call has {text:?} where an address should be")]
    NotAnAddress {
        /// What was found.
        text: String,
    },
    /// A CIDR that is none.
    #[error(transparent)]
    Subnet(#[from] AddressError),
    /// A protocol without ports.
    #[error("-p: {0}")]
    Protocol(#[from] ProtocolError),
    /// A port 0 of a container.
    #[error("-p: a container has no port 0/{protocol}: publish one from 1 to 65535")]
    NoPort {
        /// The protocol.
        protocol: Protocol,
    },
    /// An id that is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A network id of Docker that leads to no network.
    #[error("Docker's network {docker} is not known to hopsack: remove it and create it again")]
    UnknownNetwork {
        /// Docker's id.
        docker: String,
    },
    /// A mirrored network's intent.
    #[error("there is no network {network} in the cluster: it was removed")]
    NoNetwork {
        /// Our id.
        network: String,
    },
    /// Subnets of a mirrored network that are not its own.
    #[error("Docker's copy of network {network} has other subnets than the network itself: remove the copy")]
    OtherSubnets {
        /// The network.
        network: NetworkName,
    },
    /// A pool that belongs to no network.
    #[error(
        "no hopsack network has the subnet {pool}: \
         use `docker network create -d hopsack --ipam-driver hopsack ...`"
    )]
    UnknownPool {
        /// Its subnet.
        pool: Cidr,
    },
    /// An address in another subnet.
    #[error("{address} is not in {pool}: give an address of the network's subnet")]
    Outside {
        /// The address.
        address: IpAddr,
        /// The subnet.
        pool: Cidr,
    },
    /// An address that no container may have.
    #[error("{address} is kept in network {network} for: {reason}; give another address")]
    Reserved {
        /// The address.
        address: IpAddr,
        /// The network.
        network: NetworkName,
        /// What for.
        reason: String,
    },
    /// An address that another endpoint of this host has.
    #[error("{address} is in use in network {network} by {holder} on this host: give another address")]
    InUse {
        /// The address.
        address: IpAddr,
        /// The network.
        network: NetworkName,
        /// Who has it.
        holder: String,
    },
    /// An endpoint without any address.
    #[error(
        "Docker asks for endpoint {endpoint} without an address: disconnect the container and connect it again"
    )]
    NoAddress {
        /// Docker's id.
        endpoint: String,
    },
    /// An endpoint that the agent does not have.
    #[error("endpoint {endpoint} is not known to hopsack: start the container again")]
    UnknownEndpoint {
        /// Docker's id.
        endpoint: String,
    },
    /// Written, but this host has not heard of it in time.
    #[error("network {network} was made, but this host's copy does not show it yet: try again")]
    NotSeen {
        /// The network.
        network: String,
    },
    /// A network that has to give way and cannot.
    #[error(
        "Docker's network {name} ({docker}) on this host is not the cluster's network of that name, which was made at \
         the same time, and has containers: stop or disconnect them (`docker network inspect {docker}` lists them), \
         then the cluster's takes its place"
    )]
    LoserInUse {
        /// The name of both.
        name: NetworkName,
        /// The engine's id of the one that has to go, shortened.
        docker: String,
    },
    /// A copy that is out of date and cannot be made anew.
    #[error(
        "Docker's copy of network {name} on this host shows old labels and has containers: it is made anew when they \
         are stopped or disconnected (`docker network inspect {name}` lists them)"
    )]
    OldCopyInUse {
        /// Its name.
        name: NetworkName,
    },
    /// Docker's API does not answer.
    #[error("Docker does not answer at {}: {source}", socket.display())]
    Unreachable {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: Box<bollard::errors::Error>,
    },
    /// Docker refused one operation.
    #[error("Docker refused to {operation} network {object}: {message}")]
    Engine {
        /// What was asked.
        operation: &'static str,
        /// Of which network.
        object: String,
        /// Docker's words.
        message: String,
    },
}
