//! Trees, proofs and tiles that other implementations made.
//!
//! The vectors are in the folder that the variable `JURAT_VECTORS` names, or else in
//! `../shared/vectors` beside the workspace. Without them these tests have nothing to read and say
//! so; with `JURAT_VECTORS_REQUIRED=1` that is a failure.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test may fail by panicking, and says when it is skipped"
)]

use std::fs;
use std::path::{Path, PathBuf};

use jurat_proto::base64;
use jurat_proto::hash::{Hash, leaf_hash};
use jurat_proto::proof::{ConsistencyProof, InclusionProof, verify_consistency, verify_inclusion};
use jurat_proto::tile::{BundleCoord, EntryBundle, TileCoord, TileNodes, TileReader, tiles_for};
use jurat_proto::tree::{CompactRange, LeafIndex, NodeReader, TreeHead, TreeSize};
use serde::Deserialize;

/// The folder of one set of vectors, when there are any.
fn vectors(set: &str) -> Option<PathBuf> {
    let root = std::env::var_os("JURAT_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"),
        PathBuf::from,
    );
    let folder = root.join(set);
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var_os("JURAT_VECTORS_REQUIRED").is_some_and(|value| value == "1");
    assert!(!required, "{} is required and not there", folder.display());
    eprintln!("nothing to read: {} is not there", folder.display());
    None
}

/// Every file below the folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Bytes that may be no hash at all.
fn hash(text: Option<&str>) -> Result<Hash, String> {
    Hash::from_base64(text.unwrap_or_default()).map_err(|error| error.to_string())
}

fn hashes(texts: Option<Vec<String>>) -> Result<Vec<Hash>, String> {
    texts
        .unwrap_or_default()
        .iter()
        .map(|text| hash(Some(text)))
        .collect()
}

fn head(size: u64, root: Option<&str>) -> Result<TreeHead, String> {
    let size = TreeSize::new(size).ok_or("the size is above 2^63 - 1")?;
    Ok(TreeHead {
        size,
        root_hash: hash(root)?,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inclusion {
    leaf_idx: u64,
    tree_size: u64,
    root: Option<String>,
    leaf_hash: Option<String>,
    proof: Option<Vec<String>>,
    want_err: bool,
}

impl Inclusion {
    fn verify(self) -> Result<(), String> {
        let index = LeafIndex::new(self.leaf_idx).ok_or("the index is above 2^63 - 1")?;
        let leaf = hash(self.leaf_hash.as_deref())?;
        let proof = InclusionProof::new(hashes(self.proof)?).map_err(|error| error.to_string())?;
        let head = head(self.tree_size, self.root.as_deref())?;
        verify_inclusion(index, &leaf, &proof, &head).map_err(|error| error.to_string())
    }
}

// Spec: MRK-05, MRK-12
#[test]
fn inclusion_proofs_of_transparency_dev_get_their_verdicts() {
    let Some(folder) = vectors("merkle/inclusion") else {
        return;
    };
    let (mut good, mut bad) = (0, 0);
    for path in files(&folder) {
        let case: Inclusion = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let want_err = case.want_err;
        let verdict = case.verify();
        assert_eq!(
            verdict.is_err(),
            want_err,
            "{}: {verdict:?}",
            path.display()
        );
        if want_err { bad += 1 } else { good += 1 }
    }
    assert!(good >= 3 && bad >= 40, "{good} good and {bad} bad cases");
}

#[derive(Deserialize)]
struct Consistency {
    size1: u64,
    size2: u64,
    root1: Option<String>,
    root2: Option<String>,
    proof: Option<Vec<String>>,
    #[serde(rename = "wantErr")]
    want_err: bool,
}

impl Consistency {
    /// The rule of the authors of these files: from size 0 nothing can be proven, so that a proof
    /// from there is an error. Ours is tlog-witness's, where the empty proof is right.
    fn verify_as_its_authors(self) -> Result<(), String> {
        if self.size1 == 0 {
            return Err("a consistency proof from size 0 proves nothing".into());
        }
        self.verify()
    }

    fn verify(self) -> Result<(), String> {
        let from = head(self.size1, self.root1.as_deref())?;
        let to = head(self.size2, self.root2.as_deref())?;
        let proof =
            ConsistencyProof::new(hashes(self.proof)?).map_err(|error| error.to_string())?;
        verify_consistency(&from, &to, &proof).map_err(|error| error.to_string())
    }
}

// Spec: MRK-06, MRK-12
#[test]
fn consistency_proofs_of_transparency_dev_get_their_verdicts() {
    let Some(folder) = vectors("merkle/consistency") else {
        return;
    };
    let (mut good, mut bad) = (0, 0);
    for path in files(&folder) {
        let case: Consistency = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let want_err = case.want_err;
        let verdict = case.verify_as_its_authors();
        assert_eq!(
            verdict.is_err(),
            want_err,
            "{}: {verdict:?}",
            path.display()
        );
        if want_err { bad += 1 } else { good += 1 }
    }
    assert!(good >= 3 && bad >= 35, "{good} good and {bad} bad cases");
}

/// A log as a folder of files.
struct Folder(PathBuf);

impl TileReader for Folder {
    type Error = String;

    fn tile(&self, coord: TileCoord) -> Result<Vec<u8>, String> {
        fs::read(self.0.join(coord.path())).map_err(|error| format!("{coord}: {error}"))
    }
}

impl Folder {
    /// The tree head in a checkpoint: its second and third line.
    fn head(&self, size: u64) -> TreeHead {
        let text = fs::read_to_string(self.0.join(format!("checkpoint.{size}"))).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], size.to_string());
        head(size, Some(lines[2])).unwrap()
    }

    fn entries(&self, size: TreeSize) -> Vec<Vec<u8>> {
        let Some(bundle) = BundleCoord::of_size(0, size) else {
            return Vec::new();
        };
        let bytes = fs::read(self.0.join(bundle.path())).unwrap();
        let entries = EntryBundle::parse(&bytes, bundle.width()).unwrap();
        assert_eq!(EntryBundle::encode(&entries).as_ref(), Ok(&bytes));
        entries.into_iter().map(<[u8]>::to_vec).collect()
    }
}

// Spec: MRK-01, MRK-02, MRK-04, TIL-01, TIL-04, TIL-06, TIL-08, TIL-09, TIL-10
#[test]
fn tiles_and_bundles_of_tessera_lead_to_its_checkpoints() {
    let Some(folder) = vectors("tessera-log") else {
        return;
    };
    let log = Folder(folder);
    for size in 0..=8 {
        let head = log.head(size);

        let mut range = CompactRange::new();
        let leaves: Vec<Hash> = log
            .entries(head.size)
            .iter()
            .map(|entry| leaf_hash(entry))
            .collect();
        for leaf in &leaves {
            range.append(*leaf).unwrap();
        }
        assert_eq!(range.head(), head, "from the entries");

        let coords = CompactRange::node_coords(head.size);
        let nodes = TileNodes::new(&log, head.size).nodes(&coords).unwrap();
        let range = CompactRange::from_nodes(head.size, nodes).unwrap();
        assert_eq!(range.head(), head, "from the tiles");

        for tile in tiles_for(head.size) {
            let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| *leaf.as_bytes()).collect();
            assert_eq!(log.tile(tile), Ok(bytes), "{tile}");
        }
    }
}

// Spec: MRK-05, MRK-06, TIL-09
#[test]
fn proofs_from_the_tiles_of_tessera_verify_against_its_checkpoints() {
    let Some(folder) = vectors("tessera-log") else {
        return;
    };
    let log = Folder(folder);
    for size in 1..=8 {
        let head = log.head(size);
        let tiles = TileNodes::new(&log, head.size);
        for (index, entry) in (0..).zip(log.entries(head.size)) {
            let index = LeafIndex::new(index).unwrap();
            let proof = jurat_proto::proof::prove_inclusion(index, head.size, &tiles).unwrap();
            assert_eq!(
                verify_inclusion(index, &leaf_hash(&entry), &proof, &head),
                Ok(())
            );
        }
        for from in 0..=size {
            let from = log.head(from);
            let proof =
                jurat_proto::proof::prove_consistency(from.size, head.size, &tiles).unwrap();
            assert_eq!(verify_consistency(&from, &head, &proof), Ok(()));
        }
    }
}

#[derive(Deserialize)]
struct Sth {
    tree_size: u64,
    sha256_root_hash: String,
}

#[derive(Deserialize)]
struct Entries {
    entries: Vec<Leaf>,
}

#[derive(Deserialize)]
struct Leaf {
    leaf_input: String,
}

#[derive(Deserialize)]
struct AuditPath {
    leaf_index: u64,
    audit_path: Vec<String>,
}

// Spec: MRK-02, MRK-05
#[test]
fn an_entry_of_a_certificate_log_is_among_its_961_984_011() {
    let Some(folder) = vectors("ct-argon") else {
        return;
    };
    let read = |prefix: &str| {
        let path = files(&folder)
            .into_iter()
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
            })
            .expect("the three answers are there");
        fs::read(path).unwrap()
    };
    let sth: Sth = serde_json::from_slice(&read("get-sth")).unwrap();
    let entries: Entries = serde_json::from_slice(&read("get-entries")).unwrap();
    let path: AuditPath = serde_json::from_slice(&read("get-proof-by-hash")).unwrap();

    let head = head(sth.tree_size, Some(&sth.sha256_root_hash)).unwrap();
    assert_eq!(head.size.get(), 961_984_011);
    let leaf = leaf_hash(&base64::decode(&entries.entries[0].leaf_input).unwrap());
    let index = LeafIndex::new(path.leaf_index).unwrap();
    let proof = InclusionProof::new(hashes(Some(path.audit_path)).unwrap()).unwrap();
    assert_eq!(verify_inclusion(index, &leaf, &proof, &head), Ok(()));

    for other in [0, 9_999, 10_001, 961_984_010] {
        let other = LeafIndex::new(other).unwrap();
        assert!(verify_inclusion(other, &leaf, &proof, &head).is_err());
    }
}
