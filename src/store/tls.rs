//! Encrypted connections to PostgreSQL.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{self, CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::urls::{PostgresUrl, Verification};

/// What makes connections encrypted as the URL wants it.
///
/// # Errors
/// A sentence for the operator, when the certificates of authorities cannot be read.
pub(super) fn connector(url: &PostgresUrl) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let roots = || root_certificates(url.root_certificates.as_deref()).map(Arc::new);
    let config = match url.verification {
        Verification::Name => builder.with_root_certificates(roots()?).with_no_client_auth(),
        partial @ (Verification::None | Verification::Chain) => {
            let is_signed = partial == Verification::Chain;
            let chain = is_signed.then(|| {
                WebPkiServerVerifier::builder_with_provider(roots()?, provider.clone())
                    .build()
                    .map_err(|error| error.to_string())
            });
            let verifier = PartialVerifier { chain: chain.transpose()?, provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn root_certificates(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        // Those that cannot be read or used are not trusted.
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        return if roots.is_empty() {
            Err("the system trusts no certificate authority: name a file with sslrootcert".to_owned())
        } else {
            Ok(roots)
        };
    };
    let explain = |why: String| format!("sslrootcert: {} has no usable certificates: {why}", file.display());
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| explain(error.to_string()))? {
        let certificate = certificate.map_err(|error| explain(error.to_string()))?;
        roots.add(certificate).map_err(|error| explain(error.to_string()))?;
    }
    if roots.is_empty() { Err(explain("there are none in it".to_owned())) } else { Ok(roots) }
}

/// Verifies that the server has the key of its certificate, and no more than who has signed it.
#[derive(Debug)]
struct PartialVerifier {
    /// Verifies who has signed it; `None` if anybody may.
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PartialVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(certificate, intermediates, name, ocsp_response, now) {
            // The chain is verified before the name.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
