//! Signatures that ring cannot verify and libpq's OpenSSL can: ECDSA with SHA-512, and everything on P-521.

use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use sha2::Digest as _;

use super::certificate::Digest;

/// One curve with one hash function.
#[derive(Clone, Copy, Debug)]
struct Ecdsa {
    curve: Curve,
    digest: Digest,
}

#[derive(Clone, Copy, Debug)]
enum Curve {
    P256,
    P384,
    P521,
}

/// All of them.
pub(super) const ALL: &[&'static dyn SignatureVerificationAlgorithm] =
    &[&P256_SHA512, &P384_SHA512, &P521_SHA256, &P521_SHA384, &P521_SHA512];
/// Those that end a handshake with SHA-512.
pub(super) const OF_SHA512: &[&'static dyn SignatureVerificationAlgorithm] = &[&P521_SHA512];

const P256_SHA512: Ecdsa = Ecdsa { curve: Curve::P256, digest: Digest::Sha512 };
const P384_SHA512: Ecdsa = Ecdsa { curve: Curve::P384, digest: Digest::Sha512 };
const P521_SHA256: Ecdsa = Ecdsa { curve: Curve::P521, digest: Digest::Sha256 };
const P521_SHA384: Ecdsa = Ecdsa { curve: Curve::P521, digest: Digest::Sha384 };
const P521_SHA512: Ecdsa = Ecdsa { curve: Curve::P521, digest: Digest::Sha512 };

impl SignatureVerificationAlgorithm for Ecdsa {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
        let hash = match self.digest {
            Digest::Sha256 => sha2::Sha256::digest(message).to_vec(),
            Digest::Sha384 => sha2::Sha384::digest(message).to_vec(),
            Digest::Sha512 => sha2::Sha512::digest(message).to_vec(),
        };
        let is_valid = match self.curve {
            Curve::P256 => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
                let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| InvalidSignature)?;
                key.verify_prehash(&hash, &signature)
            }
            Curve::P384 => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
                let signature = p384::ecdsa::Signature::from_der(signature).map_err(|_| InvalidSignature)?;
                key.verify_prehash(&hash, &signature)
            }
            Curve::P521 => {
                // A hash is a number: zeros before it change nothing, and a short one is not taken.
                let mut padded = vec![0; 66 - hash.len()];
                padded.extend(hash);
                let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
                let signature = p521::ecdsa::Signature::from_der(signature).map_err(|_| InvalidSignature)?;
                key.verify_prehash(&padded, &signature)
            }
        };
        is_valid.map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.curve {
            Curve::P256 => alg_id::ECDSA_P256,
            Curve::P384 => alg_id::ECDSA_P384,
            Curve::P521 => alg_id::ECDSA_P521,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.digest {
            Digest::Sha256 => alg_id::ECDSA_SHA256,
            Digest::Sha384 => alg_id::ECDSA_SHA384,
            Digest::Sha512 => alg_id::ECDSA_SHA512,
        }
    }
}
