//! `hopsack attach` and `detach`: interfaces in bare network namespaces.

use crate::cli::{Attach, Detach};
use crate::error::CommandError;
use crate::output::{Format, Output, list};
use hopsack_api::client::Client;
use hopsack_api::{AttachRequest, DetachRequest, EndpointStatus};

/// `hopsack attach`
pub fn attach(client: &Client, arguments: Attach, out: &mut Output<'_>) -> Result<(), CommandError> {
    let namespace = arguments.namespace.to_string();
    let interface = arguments.interface.clone();
    let endpoint = client.attach(&AttachRequest {
        namespace: arguments.namespace.path()?,
        network: arguments.network,
        interface: arguments.interface,
        addresses: arguments.addresses,
        name: arguments.name.unwrap_or_else(|| namespace.clone()),
        labels: arguments.labels.into_iter().collect(),
        ports: arguments.ports,
    })?;
    match arguments.listing.output {
        Format::Json => out.json(&endpoint),
        Format::Text => {
            let EndpointStatus { network_name, addresses, mtu, .. } = &endpoint;
            let addresses = list(addresses);
            out.line(format_args!(
                "attached {namespace} to {network_name}: {interface} has {addresses}, MTU {mtu}"
            ))?;
            endpoint.ports.iter().try_for_each(|published| out.line(published))
        }
    }
}

/// `hopsack detach`
pub fn detach(client: &Client, arguments: Detach, out: &mut Output<'_>) -> Result<(), CommandError> {
    let Detach { namespace, network, listing } = arguments;
    let request = DetachRequest { namespace: namespace.path()?, network };
    client.detach(&request)?;
    match listing.output {
        Format::Json => out.json(&request),
        Format::Text => out.line(format_args!("detached {namespace} from {}", request.network)),
    }
}
