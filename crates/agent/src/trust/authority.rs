//! Keys and certificates: the cluster's authority, a host's own key and signing request, and who a certificate
//! says its bearer is.
//!
//! A host's identity is a URI in its certificate's subject alternative names, `hopsack://<cluster>/<host>`
//! (RFC 5280, 4.2.1.6). All keys are Ed25519; a host's key also signs its facts.

use crate::entropy::{Clock, Entropy};
use crate::error::AgentError;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use hopsack_types::{ClusterId, HostId};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

/// The DNS name that every host's certificate carries beside its identity, for TLS libraries that insist on one.
pub const SERVER_NAME: &str = "hopsack";

const DAY: i64 = 24 * 3600;
/// Certificates count from a day ago, so that clocks may differ.
const BACKDATED: i64 = DAY;
/// How long a host's certificate is good, seconds. Renewed at half of it.
pub const HOST_LIFETIME: i64 = 90 * DAY;
const AUTHORITY_LIFETIME: i64 = 20 * 365 * DAY;

fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    what: &'static str,
) -> impl FnOnce(E) -> AgentError {
    move |source| AgentError::Certificate { what, source: source.into() }
}

/// SHA-256 of a certificate, hex.
pub fn certificate_hash(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate))
}

/// A host's private key. Never leaves the host.
pub struct HostKey {
    pkcs8: Vec<u8>,
    pair: Ed25519KeyPair,
}

impl HostKey {
    /// Draws a key.
    pub fn draw(entropy: &Entropy) -> Result<Self, AgentError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&entropy.bytes::<32>())
            .map_err(failed("make this host's key"))?;
        let pkcs8 = pair.to_pkcs8v1().map_err(failed("make this host's key"))?.as_ref().to_vec();
        Ok(Self { pkcs8, pair })
    }

    /// Reads a key that was kept on disk (PKCS#8, DER).
    pub fn read(pkcs8: Vec<u8>) -> Result<Self, AgentError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8)
            .map_err(failed("read this host's key (host.key)"))?;
        Ok(Self { pkcs8, pair })
    }

    /// The key as it is kept on disk.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public key, hex, as the host's record carries it.
    pub fn public_hex(&self) -> String {
        hex::encode(self.pair.public_key())
    }

    /// Signs.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(bytes).as_ref());
        signature
    }

    /// The key as rustls takes it.
    pub fn for_tls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.clone()))
    }

    fn for_rcgen(&self) -> Result<KeyPair, AgentError> {
        KeyPair::try_from(self.pkcs8.as_slice()).map_err(failed("read this host's key"))
    }

    /// A request to certify this key; the authority decides the identity.
    pub fn signing_request(&self) -> Result<Vec<u8>, AgentError> {
        let params = CertificateParams::default();
        let request = params
            .serialize_request(&self.for_rcgen()?)
            .map_err(failed("make a certificate signing request"))?;
        Ok(request.der().to_vec())
    }
}

/// Verifies a signature by a public key in hex.
pub fn verify(public_hex: &str, bytes: &[u8], signature: &[u8]) -> bool {
    let Ok(public) = hex::decode(public_hex) else { return false };
    aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, public)
        .verify(bytes, signature)
        .is_ok()
}

/// The cluster's authority: lives with voters only.
pub struct Authority {
    key: HostKey,
    certificate: CertificateDer<'static>,
    cluster: ClusterId,
}

impl Authority {
    /// Makes the authority of a new cluster.
    pub fn create(cluster: ClusterId, entropy: &Entropy, clock: &dyn Clock) -> Result<Self, AgentError> {
        let key = HostKey::draw(entropy)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = name(&format!("hopsack cluster {}", cluster.short()));
        params.serial_number = Some(SerialNumber::from(entropy.bytes::<16>().to_vec()));
        set_lifetime(&mut params, clock, AUTHORITY_LIFETIME)?;
        let certificate = params
            .self_signed(&key.for_rcgen()?)
            .map_err(failed("make the cluster's authority"))?
            .der()
            .clone();
        Ok(Self { key, certificate, cluster })
    }

    /// Reads the authority that was kept on disk.
    pub fn read(cluster: ClusterId, pkcs8: Vec<u8>, certificate: Vec<u8>) -> Result<Self, AgentError> {
        Ok(Self { key: HostKey::read(pkcs8)?, certificate: certificate.into(), cluster })
    }

    /// The authority's key as it is kept on disk.
    pub fn pkcs8(&self) -> &[u8] {
        self.key.pkcs8()
    }

    /// The authority's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Certifies the key of a signing request as a host. Nothing else of the request counts. Returns the certificate
    /// and the public key that it is for, hex.
    pub fn certify(
        &self,
        request: &[u8],
        host: HostId,
        entropy: &Entropy,
        clock: &dyn Clock,
    ) -> Result<(CertificateDer<'static>, String), AgentError> {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
            .map_err(failed("read the certificate signing request"))?;
        let public = hex::encode(rcgen::PublicKeyData::der_bytes(&request.public_key));
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("hopsack host {}", host.short()));
        let identity = identity_uri(self.cluster, host)
            .try_into()
            .map_err(failed("write an identity into a certificate"))?;
        let dns = SERVER_NAME.try_into().map_err(failed("write a name into a certificate"))?;
        params.subject_alt_names = vec![SanType::URI(identity), SanType::DnsName(dns)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(entropy.bytes::<16>().to_vec()));
        set_lifetime(&mut params, clock, HOST_LIFETIME)?;
        let signer = self.key.for_rcgen()?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, signer)
            .map_err(failed("read the cluster's authority"))?;
        let certificate =
            params.signed_by(&request.public_key, &issuer).map_err(failed("certify a host"))?.der().clone();
        Ok((certificate, public))
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn set_lifetime(params: &mut CertificateParams, clock: &dyn Clock, lifetime: i64) -> Result<(), AgentError> {
    let now = i64::try_from(clock.unix_seconds()).unwrap_or(i64::MAX / 2);
    let time = |seconds: i64| {
        x509_parser::time::ASN1Time::from_timestamp(seconds)
            .map(|time| time.to_datetime())
            .map_err(failed("date a certificate: is this machine's clock right?"))
    };
    params.not_before = time(now - BACKDATED)?;
    params.not_after = time(now + lifetime)?;
    Ok(())
}

fn identity_uri(cluster: ClusterId, host: HostId) -> String {
    format!("hopsack://{cluster}/{host}")
}

/// Who a certificate says its bearer is; none if it says nothing of the kind. The chain must have been verified.
pub fn identity_of(certificate: &CertificateDer<'_>) -> Option<(ClusterId, HostId)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| {
        let x509_parser::extensions::GeneralName::URI(uri) = name else { return None };
        let (cluster, host) = uri.strip_prefix("hopsack://")?.split_once('/')?;
        Some((cluster.parse().ok()?, host.parse().ok()?))
    })
}

/// When half of a certificate's life is over, in seconds since 1970.
pub fn renew_at(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let (from, to) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    u64::try_from(from + (to - from) / 2).ok()
}

/// When a certificate's life is over, in seconds since 1970.
pub fn expires_at(certificate: &CertificateDer<'_>) -> Option<u64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    u64::try_from(parsed.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemClock;

    #[test]
    fn a_certified_host_is_known_by_its_certificate_and_its_signatures() {
        let entropy = Entropy::from_seed(1);
        let cluster = ClusterId::from_bytes([7; 16]);
        let host = HostId::from_bytes([8; 16]);
        let authority = Authority::create(cluster, &entropy, &SystemClock).unwrap();
        let key = HostKey::draw(&entropy).unwrap();
        let request = key.signing_request().unwrap();
        let (certificate, public) = authority.certify(&request, host, &entropy, &SystemClock).unwrap();
        assert_eq!(identity_of(&certificate), Some((cluster, host)));
        assert_eq!(public, key.public_hex());
        assert!(verify(&public, b"fact", &key.sign(b"fact")));
        assert!(!verify(&public, b"lie", &key.sign(b"fact")));
        let now = SystemClock.unix_seconds();
        let renewal = renew_at(&certificate).unwrap();
        assert!(renewal > now && renewal < now + HOST_LIFETIME as u64);
    }

    #[test]
    fn keys_survive_the_disk() {
        let entropy = Entropy::from_seed(2);
        let key = HostKey::draw(&entropy).unwrap();
        let again = HostKey::read(key.pkcs8().to_vec()).unwrap();
        assert_eq!(again.public_hex(), key.public_hex());
        let cluster = ClusterId::from_bytes([7; 16]);
        let authority = Authority::create(cluster, &entropy, &SystemClock).unwrap();
        let read =
            Authority::read(cluster, authority.pkcs8().to_vec(), authority.certificate().to_vec()).unwrap();
        let request = key.signing_request().unwrap();
        assert!(read.certify(&request, HostId::from_bytes([1; 16]), &entropy, &SystemClock).is_ok());
    }
}
