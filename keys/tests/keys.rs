//! Key files and signatures from the outside: what is refused, what two libraries agree on, and
//! what other implementations wrote.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use jurat_keys::{
    Algorithm, FileError, KeyFileProblem, KeyTextError, NoteSignerError, PemError, SigningKey,
};
use jurat_proto::base64;
use jurat_proto::checkpoint::Checkpoint;
use jurat_proto::cosignature;
use jurat_proto::key::{KeyName, Signer as _, UnixSeconds};
use jurat_proto::note::Note;
use proptest::prelude::*;

const ALL: [Algorithm; 4] = [
    Algorithm::Ed25519,
    Algorithm::CosignatureV1,
    Algorithm::MlDsa44,
    Algorithm::P256,
];

const CHECKPOINT: &str =
    "example.com/log\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\nan extension\n";

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

/// Writes `text` as an owner-only file.
fn secret_file(dir: &Path, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join("key");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn file_problem(path: &Path) -> FileError {
    match SigningKey::load(path).unwrap_err().problem {
        KeyFileProblem::File(problem) => problem,
        other => panic!("{other}"),
    }
}

fn text_problem(text: &str) -> KeyTextError {
    SigningKey::parse_note_signer(text).unwrap_err()
}

#[test]
fn each_kind_survives_being_saved_and_loaded() {
    // Spec: KEY-01, KEY-15
    for algorithm in ALL {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let key = SigningKey::generate(name("witness.example/w"), algorithm).unwrap();
        key.save_new(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);

        let loaded = match algorithm {
            Algorithm::P256 => {
                let problem = SigningKey::load(&path).unwrap_err().problem;
                assert!(matches!(problem, KeyFileProblem::NeedsName), "{problem}");
                SigningKey::load_pkcs8(&path, name("witness.example/w"), algorithm).unwrap()
            }
            _ => SigningKey::load(&path).unwrap(),
        };
        assert_eq!(
            loaded.verifier_key().to_string(),
            key.verifier_key().to_string()
        );
        assert_eq!(loaded.algorithm(), algorithm);

        // And once more through PKCS#8, which every kind has.
        let dir = tempfile::tempdir().unwrap();
        let path = secret_file(dir.path(), key.to_pkcs8_pem().unwrap().as_bytes());
        let loaded = SigningKey::load_pkcs8(&path, name("witness.example/w"), algorithm).unwrap();
        assert_eq!(
            loaded.verifier_key().to_string(),
            key.verifier_key().to_string()
        );
    }
}

#[test]
fn signatures_are_accepted_by_the_library_that_did_not_make_them() {
    // Spec: KEY-20
    let checkpoint = Checkpoint::parse_text(CHECKPOINT).unwrap();
    let time = UnixSeconds::new(1_790_000_000).unwrap();
    for algorithm in ALL {
        let key = SigningKey::generate(name("witness.example/w"), algorithm).unwrap();
        let signature = match algorithm {
            // Notes of type 0x02 are verified here but never made; the text is what is signed.
            Algorithm::P256 => key.sign(CHECKPOINT.as_bytes()).unwrap(),
            Algorithm::Ed25519 => cosignature::sign_note(CHECKPOINT, &key)
                .unwrap()
                .signature()
                .to_vec(),
            Algorithm::CosignatureV1 | Algorithm::MlDsa44 => {
                cosignature::cosign(&checkpoint, time, &key)
                    .unwrap()
                    .signature()
                    .to_vec()
            }
        };
        let verifier = key.verifier_key();
        verifier.verify_note(CHECKPOINT, &signature).unwrap();
        // One changed bit, anywhere, is refused: the check above can fail.
        let mut damaged = signature.clone();
        *damaged.last_mut().unwrap() ^= 1;
        verifier.verify_note(CHECKPOINT, &damaged).unwrap_err();
        let other = CHECKPOINT.replace('7', "8");
        verifier.verify_note(&other, &signature).unwrap_err();
    }
}

#[test]
fn the_fixed_form_of_a_p256_signature_is_64_bytes_and_only_p256_has_it() {
    let key = SigningKey::generate(name("a"), Algorithm::P256).unwrap();
    let fixed = key.sign_p256_fixed(b"message").unwrap().unwrap();
    let public = key.verifier_key().public_key_bytes();
    let point = &public[public.len() - 65..];
    aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED,
        point,
    )
    .verify(b"message", &fixed)
    .unwrap();
    let key = SigningKey::generate(name("a"), Algorithm::Ed25519).unwrap();
    assert!(key.sign_p256_fixed(b"message").is_none());
}

/// RFC 8032, section 7.1, test 2.
#[test]
fn ed25519_signatures_are_those_of_rfc_8032() {
    // Spec: KEY-20
    let seed = jurat_proto::hex::decode(
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    )
    .unwrap();
    // PKCS#8 version 1 of RFC 8410 around the seed.
    let mut der = jurat_proto::hex::decode("302e020100300506032b657004220420").unwrap();
    der.extend(seed);
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        base64::encode(&der)
    );
    let dir = tempfile::tempdir().unwrap();
    let path = secret_file(dir.path(), &pem);
    let key = SigningKey::load_pkcs8(&path, name("rfc8032"), Algorithm::Ed25519).unwrap();
    assert_eq!(
        jurat_proto::hex::encode(key.verifier_key().public_key_bytes()),
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    );
    assert_eq!(
        jurat_proto::hex::encode(&key.sign(&[0x72]).unwrap()),
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    );
    assert_eq!(*key.to_pkcs8_pem().unwrap(), pem);
}

/// The seed-only example of RFC 9881, appendix C.1.1, and a key that `openssl genpkey` made.
#[test]
fn keys_that_others_wrote_are_read() {
    // Spec: KEY-05, KEY-06
    let dir = tempfile::tempdir().unwrap();
    let path = secret_file(dir.path(), RFC9881_ML_DSA_44);
    let key = SigningKey::load_pkcs8(&path, name("rfc9881"), Algorithm::MlDsa44).unwrap();
    let line = key.to_note_signer().unwrap();
    assert_eq!(
        line.trim_end().rsplit('+').next().unwrap(),
        "BgABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
    );
    assert_eq!(*key.to_pkcs8_pem().unwrap(), RFC9881_ML_DSA_44);

    let path = secret_file(dir.path(), OPENSSL_P256);
    let key = SigningKey::load_pkcs8(&path, name("openssl"), Algorithm::P256).unwrap();
    assert_eq!(
        base64::encode(key.verifier_key().public_key_bytes()),
        OPENSSL_P256_SPKI
    );
    assert!(key.to_note_signer().is_none());
    assert_eq!(*key.to_pkcs8_pem().unwrap(), OPENSSL_P256);

    for wrong in [
        Algorithm::Ed25519,
        Algorithm::CosignatureV1,
        Algorithm::MlDsa44,
    ] {
        let error = SigningKey::load_pkcs8(&path, name("openssl"), wrong).unwrap_err();
        assert!(
            matches!(
                error.problem,
                KeyFileProblem::Text(KeyTextError::WrongAlgorithm { wanted }) if wanted == wrong
            ),
            "{error}"
        );
    }
}

/// The example key of golang.org/x/mod/sumdb/note: our signature is the one in its note.
#[test]
fn the_go_example_key_gives_the_go_example_signature() {
    // Spec: KEY-01, KEY-03
    let Some(vectors) = vectors() else { return };
    let read = |file| fs::read_to_string(vectors.join("notes").join(file)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = secret_file(dir.path(), read("peter-neumann.skey"));
    let key = SigningKey::load(&path).unwrap();
    assert_eq!(
        key.verifier_key().to_string(),
        read("peter-neumann.vkey").trim_end()
    );
    assert_eq!(
        key.to_note_signer().unwrap().trim_end(),
        read("peter-neumann.skey").trim_end(),
        "what was read is what is written"
    );

    let note = Note::parse(read("peter-neumann.note").as_bytes()).unwrap();
    let line = cosignature::sign_note(note.text(), &key).unwrap();
    assert_eq!(line.to_string(), note.signatures()[0].to_string());
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_command_that_repairs_it() {
    // Spec: KEY-10
    let dir = tempfile::tempdir().unwrap();
    let key = SigningKey::generate(name("a"), Algorithm::Ed25519).unwrap();
    let path = dir.path().join("key");
    key.save_new(&path).unwrap();
    for mode in [0o640, 0o604, 0o644, 0o660, 0o602, 0o610, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let uid = fs::metadata(&path).unwrap().uid();
        let error = SigningKey::load(&path).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "key file {path}: its mode is {mode:04o} (owner uid {uid}), so others than its \
                 owner can reach the private key; run `chmod 600 {path}`, and consider whether \
                 the key has been read",
                path = path.display()
            )
        );
    }
    for mode in [0o600, 0o400, 0o700] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        SigningKey::load(&path).unwrap();
    }
    // The command can be pasted, whatever the path.
    let odd = dir.path().join("it's a key");
    fs::rename(&path, &odd).unwrap();
    fs::set_permissions(&odd, fs::Permissions::from_mode(0o644)).unwrap();
    let error = SigningKey::load(&odd).unwrap_err().to_string();
    let command = error.split('`').nth(1).unwrap();
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg(command)
        .status()
        .unwrap();
    assert!(status.success());
    SigningKey::load(&odd).unwrap();
}

#[test]
fn only_a_regular_file_of_a_sane_size_is_read() {
    // Spec: KEY-11, KEY-12
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(file_problem(dir.path()), FileError::NotRegular));
    let socket = dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert!(matches!(file_problem(&socket), FileError::NotRegular));
    let pipe = dir.path().join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    assert!(
        matches!(file_problem(&pipe), FileError::NotRegular),
        "and it does not wait"
    );
    assert!(matches!(
        file_problem(&dir.path().join("absent")),
        FileError::Open { .. }
    ));

    let path = secret_file(dir.path(), vec![b'x'; 16 * 1024 + 1]);
    assert!(matches!(
        file_problem(&path),
        FileError::TooLarge { bytes: 16_385 }
    ));
    let path = secret_file(dir.path(), "");
    assert!(matches!(file_problem(&path), FileError::Empty));
    let path = secret_file(dir.path(), [0xff, 0xfe]);
    assert!(matches!(file_problem(&path), FileError::NotText));

    // A symbolic link is what it leads to.
    let key = SigningKey::generate(name("a"), Algorithm::Ed25519).unwrap();
    key.save_new(dir.path().join("real")).unwrap();
    symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    SigningKey::load(dir.path().join("link")).unwrap();
}

#[test]
fn a_key_is_never_overwritten() {
    // Spec: KEY-15, KEY-16
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let first = SigningKey::generate(name("a"), Algorithm::Ed25519).unwrap();
    first.save_new(&path).unwrap();
    let before = fs::read(&path).unwrap();
    let second = SigningKey::generate(name("a"), Algorithm::Ed25519).unwrap();
    let error = second.save_new(&path).unwrap_err();
    assert!(
        matches!(error.problem, KeyFileProblem::File(FileError::Exists)),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);

    // Nor through a link that leads nowhere yet.
    symlink(dir.path().join("nowhere"), dir.path().join("link")).unwrap();
    let error = second.save_new(dir.path().join("link")).unwrap_err();
    assert!(
        matches!(error.problem, KeyFileProblem::File(FileError::Exists)),
        "{error}"
    );
    assert!(!dir.path().join("nowhere").exists());

    let error = second.save_new(dir.path().join("absent/key")).unwrap_err();
    assert!(
        matches!(
            error.problem,
            KeyFileProblem::File(FileError::Create { .. })
        ),
        "{error}"
    );
}

#[test]
fn a_signer_line_has_one_spelling() {
    // Spec: KEY-02, KEY-03, KEY-04
    let key = SigningKey::generate(name("example.com/a"), Algorithm::CosignatureV1).unwrap();
    let line = key.to_note_signer().unwrap();
    let good = line.trim_end();
    SigningKey::parse_note_signer(good).unwrap();
    SigningKey::parse_note_signer(&line).unwrap();
    let id = key.verifier_key().key_id();
    let parts: Vec<&str> = good.splitn(5, '+').collect();
    let with = |at: usize, part: &str| {
        let mut parts = parts.clone();
        parts[at] = part;
        parts.join("+")
    };
    let material = parts[4];
    let odd_bits = format!("{}B=", &material[..42]);

    let problems: Vec<(String, NoteSignerError)> = vec![
        (key.verifier_key().to_string(), NoteSignerError::NotASigner),
        (format!(" {good}"), NoteSignerError::NotASigner),
        (
            "PRIVATE+KEY+a+01020304".to_owned(),
            NoteSignerError::MissingPart,
        ),
        (format!("{good}\n\n"), NoteSignerError::TrailingData),
        (format!("{good}\r\n"), NoteSignerError::TrailingData),
        (format!("{good}\n{good}\n"), NoteSignerError::TrailingData),
        (with(2, ""), NoteSignerError::KeyName),
        (with(2, "a b"), NoteSignerError::KeyName),
        (with(3, "0102030"), NoteSignerError::KeyId),
        (with(3, "010203040"), NoteSignerError::KeyId),
        (with(3, "ABCDEF01"), NoteSignerError::KeyId),
        (
            with(4, &format!("{material}A")),
            NoteSignerError::MaterialLength { chars: 45 },
        ),
        (with(4, ""), NoteSignerError::MaterialLength { chars: 0 }),
        (
            with(4, &format!("{}-", &material[..43])),
            NoteSignerError::Base64,
        ),
        (with(4, &odd_bits), NoteSignerError::Base64),
        (
            with(4, &format!("Av{}", &material[2..])),
            NoteSignerError::UnsupportedType { type_byte: 2 },
        ),
    ];
    for (text, want) in problems {
        assert_eq!(
            text_problem(&text),
            KeyTextError::NoteSigner(want),
            "{want}"
        );
    }

    // Another name, another type and another id each break the tie between id and key.
    let ed25519 = with(4, &format!("AQ{}", &material[2..]));
    for text in [with(2, "example.com/b"), ed25519, with(3, "00000000")] {
        match text_problem(&text) {
            KeyTextError::WrongKeyId { stated, computed } => assert_ne!(stated, computed),
            other => panic!("{other}"),
        }
        assert_ne!(text, good);
    }
    assert_eq!(key.verifier_key().key_id(), id);
}

#[test]
fn a_pem_file_is_one_private_key_and_nothing_else() {
    // Spec: KEY-05, KEY-06
    let longer = {
        let body: String = OPENSSL_P256
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let mut der = base64::decode(&body).unwrap();
        der.extend([0, 0]);
        format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            base64::encode(&der)
        )
    };
    let cases: Vec<(String, PemError)> = vec![
        (format!("\n{OPENSSL_P256}"), PemError::NotPem),
        (
            OPENSSL_P256.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            PemError::Encrypted,
        ),
        (
            OPENSSL_P256.replace("PRIVATE", "EC PRIVATE"),
            PemError::OtherLabel,
        ),
        (
            OPENSSL_P256.replace("-----END PRIVATE KEY-----\n", ""),
            PemError::NotClosed,
        ),
        (
            format!("{OPENSSL_P256}{OPENSSL_P256}"),
            PemError::TrailingData,
        ),
        (format!("{OPENSSL_P256}\n"), PemError::TrailingData),
        (OPENSSL_P256.replace("MIGH", "MIG!"), PemError::Base64),
        (
            OPENSSL_P256.replace("MIGH", "MIGG"),
            PemError::TrailingDer { bytes: 1 },
        ),
        (OPENSSL_P256.replace("MIGH", "MIGI"), PemError::Der),
        (OPENSSL_P256.replace("MIGH", "BIGH"), PemError::Der),
        (longer, PemError::TrailingDer { bytes: 2 }),
    ];
    for (text, want) in cases {
        let dir = tempfile::tempdir().unwrap();
        let path = secret_file(dir.path(), &text);
        let error = SigningKey::load_pkcs8(&path, name("a"), Algorithm::P256).unwrap_err();
        match error.problem {
            KeyFileProblem::Text(KeyTextError::Pem(found)) => assert_eq!(found, want, "{text}"),
            other => panic!("{other}, want {want}"),
        }
    }
}

/// The expanded form signs as well as the seed form, but cannot be written back as a seed.
#[test]
fn an_ml_dsa_key_without_its_seed_is_refused() {
    // Spec: KEY-06
    use aws_lc_rs::encoding::AsRawBytes as _;
    use aws_lc_rs::signature::{ML_DSA_44_SIGNING, PqdsaKeyPair};
    let pair = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, &[7; 32]).unwrap();
    let expanded = pair.private_key().as_raw_bytes().unwrap();
    assert_eq!(expanded.as_ref().len(), 2560);
    let mut der = vec![0x30, 0x82, 0x0a, 0x18, 0x02, 0x01, 0x00];
    der.extend(jurat_proto::hex::decode("300b0609608648016503040311").unwrap());
    der.extend([0x04, 0x82, 0x0a, 0x04, 0x04, 0x82, 0x0a, 0x00]);
    der.extend(expanded.as_ref());
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        base64::encode(&der)
    );
    let dir = tempfile::tempdir().unwrap();
    let path = secret_file(dir.path(), &pem);
    let error = SigningKey::load_pkcs8(&path, name("a"), Algorithm::MlDsa44).unwrap_err();
    assert!(
        matches!(error.problem, KeyFileProblem::Text(KeyTextError::NoSeed)),
        "{error}"
    );
}

#[test]
fn no_debug_output_and_no_error_shows_a_secret() {
    // Spec: KEY-21
    for algorithm in ALL {
        let key = SigningKey::generate(name("example.com/a"), algorithm).unwrap();
        assert_eq!(
            format!("{key:?}"),
            format!("SigningKey({})", key.verifier_key())
        );
    }
    let key = SigningKey::generate(name("example.com/a"), Algorithm::Ed25519).unwrap();
    let line = key.to_note_signer().unwrap();
    let secret = &line.trim_end()[line.len() - 30..];
    for text in [
        line.replace("example.com/a", "b"),
        format!("{}=", line.trim_end()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let error = SigningKey::load(secret_file(dir.path(), &text)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_seed_and_name_round_trip(
        seed in any::<[u8; 32]>(),
        key_name in "[!-*,-~éλ]{1,40}",
        kind in prop::sample::select(vec![1_u8, 4, 6]),
    ) {
        // The id is learned from the refusal: the parser is the only place that derives it.
        let mut material = vec![kind];
        material.extend(seed);
        let material = base64::encode(&material);
        let line = |id: &str| format!("PRIVATE+KEY+{key_name}+{id}+{material}\n");
        let id = match SigningKey::parse_note_signer(&line("00000000")) {
            Err(KeyTextError::WrongKeyId { computed, .. }) => computed.to_string(),
            Ok(_) => "00000000".to_owned(),
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        };
        let key = SigningKey::parse_note_signer(&line(&id)).unwrap();
        prop_assert_eq!(&*key.to_note_signer().unwrap(), &line(&id));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(PRIVATE\\+KEY\\+)?[ -~\n]{0,120}") {
        let _ = SigningKey::parse_note_signer(&text);
    }
}

/// The folder of other people's test data, when there is one. `JURAT_VECTORS_REQUIRED=1` makes its
/// absence a failure.
fn vectors() -> Option<PathBuf> {
    let path = std::env::var_os("JURAT_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"),
        PathBuf::from,
    );
    if path.is_dir() {
        return Some(path);
    }
    assert!(
        std::env::var_os("JURAT_VECTORS_REQUIRED").is_none_or(|value| value != "1"),
        "JURAT_VECTORS_REQUIRED is set and {} is not there",
        path.display()
    );
    println!("nothing to read: {} is not there", path.display());
    None
}

const RFC9881_ML_DSA_44: &str = "-----BEGIN PRIVATE KEY-----
MDQCAQAwCwYJYIZIAWUDBAMRBCKAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZ
GhscHR4f
-----END PRIVATE KEY-----
";

/// A throw-away key from `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.
const OPENSSL_P256: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHC7FM7ONqWzAEaJw
AxU1eFkYCNe1VhLHslPYP1blsU+hRANCAASOaaeIBYHEDwqzSwkg36J+ykQAQfaF
+3/FypUA4xGhCq6tVgiktQQhvx4YdqB+TBezrWOHnOfeXkH8P3cq2FEK
-----END PRIVATE KEY-----
";

const OPENSSL_P256_SPKI: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEjmmniAWBxA8Ks0sJIN+ifspE\
AEH2hft/xcqVAOMRoQqurVYIpLUEIb8eGHagfkwXs61jh5zn3l5B/D93KthRCg==";
