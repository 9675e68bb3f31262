//! Keys and certificates on disk.

use crate::authority::{Authority, HostKey};
use crate::error::AgentError;
use crate::identity::Identity;
use crate::statedir::StateDir;
use crate::transport::Credentials;
use hopsack_types::{ClusterId, HostId};
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

const HOST_KEY: &str = "host.key";
const HOST_CERTIFICATE: &str = "host.crt";
const AUTHORITY_CERTIFICATE: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const CLUSTER_KEY: &str = "cluster.key";

fn needed(dir: &StateDir, name: &str) -> Result<Vec<u8>, AgentError> {
    dir.read(name)?
        .ok_or_else(|| AgentError::DamagedState { path: dir.path(name), reason: "it is missing".to_owned() })
}

/// This host's key; drawn and kept if there is none, so that a join that was cut off can be repeated with it.
pub fn host_key(dir: &StateDir, entropy: &crate::entropy::Entropy) -> Result<HostKey, AgentError> {
    if let Some(pkcs8) = dir.read(HOST_KEY)? {
        return HostKey::read(pkcs8);
    }
    let key = HostKey::draw(entropy)?;
    dir.write(HOST_KEY, key.pkcs8())?;
    Ok(key)
}

/// Keeps what a host got when it came in.
pub fn keep(
    dir: &StateDir,
    certificate: &[u8],
    authority: &[u8],
    cluster_key: &[u8; 32],
) -> Result<(), AgentError> {
    dir.write(HOST_CERTIFICATE, certificate)?;
    dir.write(AUTHORITY_CERTIFICATE, authority)?;
    dir.write(CLUSTER_KEY, cluster_key)
}

/// Keeps a renewed certificate.
pub fn keep_certificate(dir: &StateDir, certificate: &[u8]) -> Result<(), AgentError> {
    dir.write(HOST_CERTIFICATE, certificate)
}

/// Keeps the authority's key; voters only.
pub fn keep_authority(dir: &StateDir, authority: &Authority) -> Result<(), AgentError> {
    dir.write(AUTHORITY_KEY, authority.pkcs8())
}

/// Reads the credentials of a host that is in a cluster.
pub fn credentials(dir: &StateDir, identity: &Identity) -> Result<Credentials, AgentError> {
    let key = Arc::new(HostKey::read(needed(dir, HOST_KEY)?)?);
    let cluster_key = needed(dir, CLUSTER_KEY)?.try_into().map_err(|_| AgentError::DamagedState {
        path: dir.path(CLUSTER_KEY),
        reason: "it has not 32 bytes".to_owned(),
    })?;
    let authority: CertificateDer<'static> = needed(dir, AUTHORITY_CERTIFICATE)?.into();
    let certificate: CertificateDer<'static> = needed(dir, HOST_CERTIFICATE)?.into();
    let (cluster, host): (ClusterId, HostId) = (identity.cluster, identity.host);
    Ok(Credentials::new(cluster, host, key, authority, certificate, cluster_key))
}

/// Reads the authority; voters only.
pub fn authority(dir: &StateDir, identity: &Identity) -> Result<Authority, AgentError> {
    Authority::read(identity.cluster, needed(dir, AUTHORITY_KEY)?, needed(dir, AUTHORITY_CERTIFICATE)?)
}
