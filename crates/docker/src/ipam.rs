//! `IpamDriver`: Docker's requests for pools and addresses, in the agent's words.
//!
//! A pool is a network's subnet and its id is the subnet's text, so that an engine that starts again and replays its
//! requests finds the same. Replayed requests look like new ones; each is answered so that both are right: what is
//! reserved, and what an endpoint of this host has, is granted again without a second allocation, and a release of
//! it changes nothing. A second container cannot get an endpoint with it.

use crate::error::DockerError;
use crate::options;
use crate::pools::PromisedPools;
use crate::wire;
use hopsack_api::{AllocateRequest, Api, ReleaseRequest, SubnetRequest};
use hopsack_types::{Cidr, Family, Network};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The address space of our pools: how the network driver recognises them.
pub(crate) const ADDRESS_SPACE: &str = "hopsack";

/// The driver.
pub(crate) struct IpamDriver {
    pub(crate) api: Arc<dyn Api>,
    pub(crate) pools: Arc<PromisedPools>,
}

impl IpamDriver {
    /// Finds the subnet of a network to be, or of one that exists.
    pub(crate) async fn request_pool(
        &self,
        request: wire::RequestPool,
    ) -> Result<wire::PoolAnswer, DockerError> {
        let family = if request.v6 { Family::V6 } else { Family::V4 };
        let wanted = if request.pool.is_empty() { None } else { Some(request.pool.parse::<Cidr>()?) };
        let range = if request.sub_pool.is_empty() { None } else { Some(request.sub_pool.parse::<Cidr>()?) };
        options::no_pool_options(&request.options)?;
        let subnet = self.promised(family, wanted, range).await?;
        let text = subnet.to_string();
        Ok(wire::PoolAnswer { pool_id: text.clone(), pool: text, data: BTreeMap::new() })
    }

    /// A subnet for a new network. That of an existing one is granted too: Docker replays its requests when it
    /// starts, and makes copies; if it was neither, making the network is refused, unless the other is gone by then.
    async fn promised(
        &self,
        family: Family,
        wanted: Option<Cidr>,
        range: Option<Cidr>,
    ) -> Result<Cidr, DockerError> {
        let mut avoid = self.pools.all();
        // The same once more: an answer of ours was lost, or `CreateNetwork` will refuse one of the two.
        avoid.retain(|promised| Some(*promised) != wanted);
        let subnet = match wanted.filter(|wanted| self.network(*wanted).is_some()) {
            Some(existing) => existing,
            None => self.api.propose_subnet(SubnetRequest { family, wanted, avoid }).await?,
        };
        self.pools.insert(subnet, range, wanted.is_none());
        Ok(subnet)
    }

    /// The network whose subnet a pool is.
    fn network(&self, pool: Cidr) -> Option<Network> {
        let networks = self.api.networks();
        let networks = networks.borrow();
        networks.networks.values().find(|network| network.subnets.contains(&pool)).cloned()
    }

    /// Ends a promise; the pool of an existing network stays with it.
    pub(crate) fn release_pool(&self, request: wire::ReleasePool) -> Result<(), DockerError> {
        self.pools.give_back(&request.pool_id.parse()?);
        Ok(())
    }

    /// Takes an address for a container, or notes what Docker keeps from them.
    pub(crate) async fn request_address(
        &self,
        request: wire::RequestAddress,
    ) -> Result<wire::AddressAnswer, DockerError> {
        let pool: Cidr = request.pool_id.parse()?;
        let wanted = if request.address.is_empty() { None } else { Some(address(&request.address)?) };
        if let Some(wanted) = wanted
            && !pool.contains(wanted)
        {
            return Err(DockerError::Outside { address: wanted, pool });
        }
        let purpose = request.options.as_ref().and_then(|options| options.get(wire::ADDRESS_TYPE));
        let is_gateway = purpose.is_some_and(|purpose| purpose == wire::GATEWAY);
        let network = self.network(pool);
        let reserved = |address: &IpAddr| network.as_ref().is_some_and(|n| n.kept_for(*address).is_some());
        // Of what no container gets, Docker wants the subnet's mask back; `CreateNetwork` reserves it.
        let kept = |address: IpAddr| answer(address, pool.length());
        if is_gateway {
            if wanted.is_some() {
                self.pools.gateway_given(&pool);
            }
            return wanted.map_or_else(|| gateway(network.as_ref(), pool), Ok).map(kept);
        }
        match (&network, wanted) {
            (None, Some(wanted)) if self.pools.get(&pool).is_some() => Ok(kept(wanted)),
            (None, _) => Err(DockerError::UnknownPool { pool }),
            (Some(_), Some(wanted)) if reserved(&wanted) => Ok(kept(wanted)),
            (Some(_), Some(wanted)) if self.is_attached(wanted).await? => Ok(alone(wanted)),
            (Some(network), wanted) => {
                // Of a pool without room Docker's user would hear, though the network's next pool has some: it takes an
                // address of any of them. It names no container, either. A dynamic address is new each time; a given one is the same again.
                let holder = wanted.map_or_else(String::new, |wanted| format!("docker:{wanted}"));
                let network = network.id;
                let request = AllocateRequest { network, family: pool.family(), address: wanted, holder };
                Ok(alone(self.api.allocate(request).await?))
            }
        }
    }

    /// Gives an address back, unless it belongs to the network or an endpoint has it: then this is the end of a
    /// request that was granted twice.
    pub(crate) async fn release_address(&self, request: wire::ReleaseAddress) -> Result<(), DockerError> {
        let address = address(&request.address)?;
        let Some(network) = self.network(request.pool_id.parse()?) else { return Ok(()) };
        if network.kept_for(address).is_some() || self.is_attached(address).await? {
            return Ok(());
        }
        Ok(self.api.release(ReleaseRequest { network: network.id, address }).await?)
    }

    async fn is_attached(&self, address: IpAddr) -> Result<bool, DockerError> {
        Ok(self.api.endpoints().await?.iter().any(|endpoint| endpoint.addresses.contains(&address)))
    }
}

/// A container's address is on no link with others: its mask is its own length, so that it sends all to its next hop.
fn alone(address: IpAddr) -> wire::AddressAnswer {
    answer(address, Family::of(address).bits())
}

fn answer(address: IpAddr, length: u8) -> wire::AddressAnswer {
    wire::AddressAnswer { address: format!("{address}/{length}"), data: BTreeMap::new() }
}

/// The gateway of a subnet for which the user gave none. Docker does not go without; in one that is too small for it, of
/// a network that was made without Docker, it gets an address that is of no use to it.
fn gateway(network: Option<&Network>, pool: Cidr) -> Result<IpAddr, DockerError> {
    match network {
        Some(network) => Ok(network.gateway_in(pool).unwrap_or_else(|| pool.first())),
        None => Network::default_gateway(pool).ok_or(DockerError::NoRoomForGateway { pool }),
    }
}

/// Reads an address, with or without a prefix length: Docker writes both.
pub(crate) fn address(text: &str) -> Result<IpAddr, DockerError> {
    let bare = text.parse::<IpAddr>().ok();
    bare.or_else(|| text.parse::<IpNet>().ok().map(|net| net.addr()))
        .ok_or_else(|| DockerError::NotAnAddress { text: text.to_owned() })
}
