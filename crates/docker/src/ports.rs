//! `-p` and `-P`: Docker asks them of the endpoint that has its container's default route, anew whenever that changes.

use crate::error::DockerError;
use crate::network::{NetworkDriver, endpoint_id};
use crate::wire;
use hopsack_api::{PortRequest, PublishRequest};
use hopsack_types::Protocol;
use std::net::IpAddr;
use std::num::NonZeroU16;

impl NetworkDriver {
    /// Publishes an endpoint's ports.
    pub(crate) async fn publish(&self, request: wire::Publish) -> Result<(), DockerError> {
        let bindings = request.options.unwrap_or_default().port_map.unwrap_or_default();
        let ports = bindings.iter().map(port).collect::<Result<Vec<PortRequest>, DockerError>>()?;
        if !ports.is_empty() {
            let endpoint = endpoint_id(&request.endpoint_id)?;
            self.api.publish(PublishRequest { endpoint, ports }).await?;
        }
        Ok(())
    }

    /// Takes an endpoint's ports back.
    pub(crate) async fn unpublish(&self, request: wire::OfEndpoint) -> Result<(), DockerError> {
        Ok(self.api.unpublish(endpoint_id(&request.endpoint_id)?).await?)
    }
}

/// One port of a container. Docker's CLI has taken ranges of them apart by now.
fn port(binding: &wire::PortBinding) -> Result<PortRequest, DockerError> {
    let protocol = Protocol::of_number(binding.proto)?;
    let unknown = || DockerError::NoPort { protocol };
    let host_address: Option<IpAddr> = match binding.host_ip.as_deref() {
        None | Some("") => None,
        Some(text) => Some(text.parse().map_err(|_| DockerError::NotAnAddress { text: text.to_owned() })?),
    };
    // Without an end there is one port; without a beginning there is any.
    let host_ports = NonZeroU16::new(binding.host_port)
        .map(|first| (first, NonZeroU16::new(binding.host_port_end).unwrap_or(first).max(first)));
    let container_port = NonZeroU16::new(binding.port).ok_or_else(unknown)?;
    Ok(PortRequest { protocol, host_address, host_ports, container_port })
}
