//! Docker's own overlay network: two engines as a swarm, without an agent of ours.

use hopsack_lab::{Host, IMAGE, Inside, LabError, Place, wait};
use std::net::IpAddr;
use std::time::Duration;

/// A worker learns of a network when it first uses it, and not always at the first try.
const PATIENCE: Duration = Duration::from_secs(60);
/// The network.
const NETWORK: &str = "ov";
/// The container on each host.
const CONTAINER: &str = "c1";

/// Makes a swarm of two engines and runs a container on each. Gives the containers, and the second one's address.
pub fn make(hosts: [&Host; 2]) -> Result<(Place, Place, IpAddr), LabError> {
    let [manager, worker] = hosts;
    let (first, second) = (manager.address()?.to_string(), worker.address()?.to_string());
    manager.docker(&["swarm", "init", "--advertise-addr", &first])?;
    let token = manager.docker(&["swarm", "join-token", "-q", "worker"])?;
    worker.docker(&["swarm", "join", "--token", &token, "--advertise-addr", &second, &first])?;
    let create = ["network", "create", "-d", "overlay", "--attachable", "--subnet", "10.98.0.0/24", NETWORK];
    manager.docker(&create)?;
    for host in hosts {
        wait::value(&format!("a container on the overlay of {}", host.name()), PATIENCE, || {
            let run =
                host.docker(&["run", "-d", "--name", CONTAINER, "--net", NETWORK, IMAGE, "sleep", "1d"]);
            run.map(drop).map_err(|error| {
                let _ = host.docker(&["rm", "-f", CONTAINER]);
                error.chain()
            })
        })?;
    }
    let format = format!("{{{{.NetworkSettings.Networks.{NETWORK}.IPAddress}}}}");
    let said = worker.docker(&["inspect", "-f", &format, CONTAINER])?;
    let address: IpAddr = wait::value("the container's address", Duration::ZERO, || {
        said.parse().map_err(|_| format!("`docker inspect` said {said:?}"))
    })?;
    let (client, server) = (manager.docker_network(CONTAINER)?, worker.docker_network(CONTAINER)?);
    wait::until("the overlay to carry packets", PATIENCE, || client.reaches(address).unwrap_or(false))?;
    Ok((client, server, address))
}
