//! The definitions of RFC 6962 section 2.1 and of the subtree draft, section 4, word by word.

use jurat_proto::hash::{Hash, sha256};

fn hash_children(left: &Hash, right: &Hash) -> Hash {
    let mut message = vec![0x01];
    message.extend(left.as_bytes());
    message.extend(right.as_bytes());
    sha256(&message)
}

/// The largest power of two smaller than `n`.
fn split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// `MTH(D[n])` over leaf hashes.
pub(crate) fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(b""),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            hash_children(&mth(left), &mth(right))
        }
    }
}

/// `PATH(m, D[n])`, RFC 6962 section 2.1.1.
pub(crate) fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, sibling) = if m < k {
        (path(m, left), right)
    } else {
        (path(m - k, right), left)
    };
    path.push(mth(sibling));
    path
}

/// `PROOF(m, D[n])`, RFC 6962 section 2.1.2, for `0 < m <= n`.
pub(crate) fn proof(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    subproof(m, leaves, true)
}

fn subproof(m: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if known { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) = if m <= k {
        (subproof(m, left, known), right)
    } else {
        (subproof(m - k, right, false), left)
    };
    proof.push(mth(sibling));
    proof
}

/// `SUBTREE_PROOF(start, end, D_n)`, section 4.4.1 of the draft.
pub(crate) fn subtree_proof(start: usize, end: usize, leaves: &[Hash]) -> Vec<Hash> {
    subtree_subproof(start, end, leaves, true)
}

fn subtree_subproof(start: usize, end: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if start == 0 && end == leaves.len() {
        return if known { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) = if end <= k {
        (subtree_subproof(start, end, left, known), right)
    } else if k <= start {
        (subtree_subproof(start - k, end - k, right, known), left)
    } else {
        assert_eq!(start, 0);
        (subtree_subproof(0, end - k, right, false), left)
    };
    proof.push(mth(sibling));
    proof
}

/// Whether `[start, end)` is a subtree, section 4.1 of the draft.
pub(crate) fn is_subtree(start: u64, end: u64) -> bool {
    let bit_ceil = |n: u64| (0..64).map(|log| 1_u64 << log).find(|&power| power >= n);
    start < end && bit_ceil(end - start).is_some_and(|ceil| start.is_multiple_of(ceil))
}

/// The procedure of section 4.4.3 of the draft, which climbs by shifting three indices.
pub(crate) fn accepts(
    [start, end, n]: [u64; 3],
    proof: &[Hash],
    node_hash: Hash,
    root_hash: Hash,
) -> bool {
    if !is_subtree(start, end) || end > n {
        return false;
    }
    let (mut fnum, mut snum, mut tnum) = (start, end - 1, n - 1);
    let shift = |fnum: &mut u64, snum: &mut u64, tnum: &mut u64| {
        *fnum >>= 1;
        *snum >>= 1;
        *tnum >>= 1;
    };
    if snum == tnum {
        while fnum != snum {
            shift(&mut fnum, &mut snum, &mut tnum);
        }
    } else {
        while fnum != snum && snum & 1 == 1 {
            shift(&mut fnum, &mut snum, &mut tnum);
        }
    }
    let mut rest = proof.iter();
    let first = if fnum == snum {
        Some(node_hash)
    } else {
        rest.next().copied()
    };
    let Some(first) = first else { return false };
    let (mut fr, mut sr) = (first, first);
    for c in rest {
        if tnum == 0 {
            return false;
        }
        if snum & 1 == 1 || snum == tnum {
            if fnum < snum {
                fr = hash_children(c, &fr);
            }
            sr = hash_children(c, &sr);
            while snum & 1 == 0 {
                shift(&mut fnum, &mut snum, &mut tnum);
            }
        } else {
            sr = hash_children(&sr, c);
        }
        shift(&mut fnum, &mut snum, &mut tnum);
    }
    tnum == 0 && fr == node_hash && sr == root_hash
}
