//! Keys and certificates on disk.

use crate::error::AgentError;
use crate::statedir::StateDir;
use crate::talk::transport::Credentials;
use crate::trust::authority::{Authority, HostKey, identity_of};
use crate::trust::identity::Identity;
use hopsack_types::{ClusterId, HostId};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

const HOST_KEY: &str = "host.key";
const HOST_CERTIFICATE: &str = "host.crt";
const AUTHORITY_CERTIFICATE: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const CLUSTER_KEY: &str = "cluster.key";

fn damaged(dir: &StateDir, name: &str, reason: &str) -> AgentError {
    AgentError::DamagedState { path: dir.path(name), reason: reason.to_owned() }
}

fn needed(dir: &StateDir, name: &str) -> Result<Vec<u8>, AgentError> {
    dir.read(name)?.ok_or_else(|| damaged(dir, name, "it is missing"))
}

fn read_host_key(dir: &StateDir, pkcs8: Vec<u8>) -> Result<HostKey, AgentError> {
    HostKey::read(pkcs8).map_err(|_| damaged(dir, HOST_KEY, "it is no key"))
}

/// This host's key; drawn and kept if there is none, so that a join that was cut off can be repeated with it.
pub fn host_key(dir: &StateDir, entropy: &crate::entropy::Entropy) -> Result<HostKey, AgentError> {
    if let Some(pkcs8) = dir.read(HOST_KEY)? {
        return read_host_key(dir, pkcs8);
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

/// Reads the credentials of a host that is in a cluster. What could prove nothing to others is found here, at the
/// start, and not by connections that fail one after another.
pub fn credentials(dir: &StateDir, identity: &Identity) -> Result<Credentials, AgentError> {
    let (cluster, host): (ClusterId, HostId) = (identity.cluster, identity.host);
    let key = Arc::new(read_host_key(dir, needed(dir, HOST_KEY)?)?);
    let cluster_key =
        needed(dir, CLUSTER_KEY)?.try_into().map_err(|_| damaged(dir, CLUSTER_KEY, "it has not 32 bytes"))?;
    let authority: CertificateDer<'static> = needed(dir, AUTHORITY_CERTIFICATE)?.into();
    RootCertStore::empty()
        .add(authority.clone())
        .map_err(|_| damaged(dir, AUTHORITY_CERTIFICATE, "it is no certificate"))?;
    let certificate: CertificateDer<'static> = needed(dir, HOST_CERTIFICATE)?.into();
    if identity_of(&certificate) != Some((cluster, host)) {
        return Err(damaged(dir, HOST_CERTIFICATE, "it is no certificate of this host"));
    }
    Ok(Credentials::new(cluster, host, key, authority, certificate, cluster_key))
}

/// Reads the authority; voters only.
pub fn authority(dir: &StateDir, identity: &Identity) -> Result<Authority, AgentError> {
    let certificate = needed(dir, AUTHORITY_CERTIFICATE)?;
    Authority::read(identity.cluster, needed(dir, AUTHORITY_KEY)?, certificate)
        .map_err(|_| damaged(dir, AUTHORITY_KEY, "it is no key of this cluster's authority"))
}
