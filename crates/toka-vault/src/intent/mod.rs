//! Intents: what the texts of a vault are about, found by clustering their vectors.
//!
//! Clustering is online, in the order of the log and in integers ([`Intents::build`] walks the vectors
//! once and then settles the clusters), so that a rebuild gives the same intents with the same ids and
//! names. It takes vectors and knows nothing of how they were made.
//!
//! An intent's id is the beginning of the id of its first event: it stays while that event stays in
//! the intent, whatever is added later.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use blockfile::{BlockFile, Format, Input, put, put_bytes};
use cluster::Clusters;

pub(crate) mod blockfile;
mod centroids;
pub(crate) mod cluster;
pub(crate) mod fixed;
mod key;
mod online;

pub use centroids::Centroids;
pub use key::ProjectionKey;
pub use online::{Cluster, DEFAULT_LIMIT, Joined, Online};

/// What a group of texts is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Identity, shown as eight hexadecimal digits.
    pub id: u32,
    /// The most telling terms, for people.
    pub name: String,
    /// The telling terms, the most telling first.
    pub terms: Vec<String>,
    /// Number of events that belong to it.
    pub events: u32,
}

/// The intents of a vault and which of its vectors belongs to which.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Intents {
    intents: Vec<Intent>,
    clusters: Clusters,
}

/// The similarity of identical directions as [`Intents::of`] gives it.
pub const SIMILARITY_ONE: i32 = fixed::ONE;

/// Terms of an intent that make its name.
const NAME_TERMS: usize = 3;

impl Intents {
    /// Clusters the vectors of events in log order, `dimension` 8-bit components each.
    ///
    /// `terms` is asked for the telling terms of each cluster, given the positions of its members.
    #[must_use]
    pub fn build(
        vectors: &[i8],
        dimension: usize,
        events: &[[u8; 32]],
        mut terms: impl FnMut(&[usize]) -> Vec<String>,
    ) -> Self {
        Self::named(cluster::cluster(vectors, dimension), events, &mut terms)
    }

    /// The intents of vectors that were brought together by other means: `groups` names for each vector the
    /// group it belongs to, and the groups' centres are found here.
    #[must_use]
    pub fn grouped(
        vectors: &[i8],
        dimension: usize,
        groups: &[Option<u32>],
        events: &[[u8; 32]],
        mut terms: impl FnMut(&[usize]) -> Vec<String>,
    ) -> Self {
        Self::named(Clusters::of(vectors, dimension, groups), events, &mut terms)
    }

    fn named(
        mut clusters: Clusters,
        events: &[[u8; 32]],
        terms: &mut dyn FnMut(&[usize]) -> Vec<String>,
    ) -> Self {
        // Where nothing was learnt there are events, but no components.
        clusters.members.resize(events.len(), None);
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); clusters.len()];
        for (position, found) in clusters.members.iter().enumerate() {
            if let Some((cluster, _)) = found {
                members[*cluster as usize].push(position);
            }
        }
        let mut taken = HashSet::new();
        let intents = members
            .iter()
            .map(|members| {
                let terms = terms(members);
                let first = members.first().and_then(|first| events.get(*first));
                Intent {
                    id: unused_id(first, &mut taken),
                    name: terms[..terms.len().min(NAME_TERMS)].join(", "),
                    terms,
                    events: members.len() as u32,
                }
            })
            .collect();
        Self { intents, clusters }
    }

    /// All intents, in the order in which they first appear in the log.
    #[must_use]
    pub fn list(&self) -> &[Intent] {
        &self.intents
    }

    /// The intent of the vector at `position` and its similarity to the intent's centre in units of
    /// 1 / [`SIMILARITY_ONE`]; `None` for the zero vector, which is about nothing.
    #[must_use]
    pub fn of(&self, position: usize) -> Option<(&Intent, i32)> {
        let (cluster, similarity) = (*self.clusters.members.get(position)?)?;
        Some((self.intents.get(cluster as usize)?, similarity))
    }

    /// The positions of the vectors that belong to the intent with their similarities, in log order;
    /// `None` if there is no such intent.
    #[must_use]
    pub fn members(&self, id: u32) -> Option<Vec<(usize, i32)>> {
        let wanted = self.intents.iter().position(|intent| intent.id == id)?;
        let members = self.clusters.members.iter().enumerate();
        Some(
            members
                .filter_map(|(position, found)| {
                    found
                        .filter(|(cluster, _)| *cluster as usize == wanted)
                        .map(|(_, similarity)| (position, similarity))
                })
                .collect(),
        )
    }

    /// The intent that a new vector comes nearest to, with the similarity; nothing is changed.
    #[must_use]
    pub fn assign(&self, vector: &[i8]) -> Option<(&Intent, i32)> {
        let (cluster, similarity) = self.clusters.nearest(vector)?;
        Some((self.intents.get(cluster)?, similarity))
    }

    /// Saves the intents of vectors that came from elsewhere (a model's, handed in by the caller) as a
    /// projection of their own; durable when it returns. Those that search clusters lie in its file.
    ///
    /// # Errors
    /// [`ProjectionError::Io`] if the directory cannot be written; what was saved before is then still
    /// in place.
    pub fn save(&self, directory: &Path, position: Position) -> Result<(), ProjectionError> {
        self.save_sealed(directory, position, None)
    }

    /// As [`save`](Self::save), encrypted with the key of a sealed vault.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_sealed(
        &self,
        directory: &Path,
        position: Position,
        key: Option<&ProjectionKey>,
    ) -> Result<(), ProjectionError> {
        let count = (self.clusters.members.len() as u64).to_le_bytes();
        let sections: [(&str, &[u8]); 2] = [(COUNT, &count), (INTENTS, &self.encode())];
        blockfile::write(&directory.join(FILE), FORMAT, position, &sections, key)
    }

    /// Opens what [`save`](Self::save) wrote, with the position of the log that it covers.
    ///
    /// # Errors
    /// [`ProjectionError::Missing`], [`ProjectionError::Damaged`] or [`ProjectionError::Version`] if there
    /// is nothing that can be used, [`ProjectionError::Io`] if it cannot be read.
    pub fn open(directory: &Path) -> Result<(Self, Position), ProjectionError> {
        Self::open_sealed(directory, None)
    }

    /// As [`open`](Self::open), for what was encrypted with the key of a sealed vault.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_sealed(
        directory: &Path,
        key: Option<&ProjectionKey>,
    ) -> Result<(Self, Position), ProjectionError> {
        let file = BlockFile::open(&directory.join(FILE), FORMAT, key)?;
        let nonsense = |section| file.damaged(section, "its content makes no sense");
        let count = <[u8; 8]>::try_from(file.read_all(COUNT)?).map_err(|_| nonsense(COUNT))?;
        let count = usize::try_from(u64::from_le_bytes(count)).map_err(|_| nonsense(COUNT))?;
        let intents = Self::decode(&file.read_all(INTENTS)?, count);
        Ok((intents.ok_or_else(|| nonsense(INTENTS))?, file.position()))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.clusters.dimension as u64);
        put(&mut out, self.intents.len() as u64);
        for intent in &self.intents {
            put(&mut out, u64::from(intent.id));
            put_bytes(&mut out, intent.name.as_bytes());
            put(&mut out, u64::from(intent.events));
            put(&mut out, intent.terms.len() as u64);
            for term in &intent.terms {
                put_bytes(&mut out, term.as_bytes());
            }
        }
        out.extend(self.clusters.centroids.iter().map(|c| *c as u8));
        for found in &self.clusters.members {
            match found {
                None => put(&mut out, 0),
                Some((cluster, similarity)) => {
                    put(&mut out, u64::from(*cluster) + 1);
                    // Shifted into the positive numbers.
                    put(&mut out, (similarity + SIMILARITY_ONE) as u64);
                }
            }
        }
        out
    }

    /// Decodes what [`encode`](Self::encode) wrote for `count` vectors.
    pub(crate) fn decode(bytes: &[u8], count: usize) -> Option<Self> {
        let mut input = Input(bytes);
        let dimension = input.number()? as usize;
        let clusters = input.number()? as usize;
        if clusters > cluster::MAX_GROUPS {
            return None;
        }
        let mut intents = Vec::with_capacity(clusters);
        for _ in 0..clusters {
            let id = input.small()?;
            let name = input.text()?.to_owned();
            let events = input.small()?;
            let mut terms = Vec::new();
            for _ in 0..input.number()? {
                terms.push(input.text()?.to_owned());
            }
            intents.push(Intent { id, name, terms, events });
        }
        let centroids = input.take(clusters.checked_mul(dimension)?)?;
        let centroids = centroids.iter().map(|byte| *byte as i8).collect();
        let mut members = Vec::with_capacity(count.min(bytes.len()));
        for _ in 0..count {
            members.push(match input.small()? {
                0 => None,
                cluster => {
                    let similarity = i32::try_from(input.small()?).ok()? - SIMILARITY_ONE;
                    Some((cluster - 1, similarity))
                }
            });
        }
        input.0.is_empty().then_some(Self { intents, clusters: Clusters { dimension, centroids, members } })
    }
}

/// Reads every byte of the intents that were saved on their own in the directory and reports what is
/// wrong. None saved is no problem. Nothing is changed.
#[must_use]
pub fn verify(directory: &Path) -> Vec<Problem> {
    let mut problems = blockfile::verify(&directory.join(FILE), FORMAT);
    problems.extend(online::verify(directory));
    problems
}

const FILE: &str = "intents.idx";
const COUNT: &str = "count";
const INTENTS: &str = "intents";
const FORMAT: Format = Format { kind: "intents", version: 1 };

/// The beginning of the event's id; a later one if another intent has it.
fn unused_id(event: Option<&[u8; 32]>, taken: &mut HashSet<u32>) -> u32 {
    let event = event.copied().unwrap_or_default();
    let mut id = u32::from_be_bytes([event[0], event[1], event[2], event[3]]);
    while !taken.insert(id) {
        id = id.wrapping_add(1);
    }
    id
}

/// How far into the log a projection reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Sequence number of the last event that is covered.
    pub seq: u64,
    /// Id of that event: a projection of another log, or of a log that was cut since, shows itself by
    /// naming an id that the log does not have at `seq`.
    pub head: [u8; 32],
}

/// Something wrong with a projection file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, with the name of the section.
    pub detail: String,
}

/// Why a projection cannot be read or written. Nothing is lost by it: a projection is rebuilt from the
/// log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProjectionError {
    /// There is none yet.
    #[error("there is no projection {}; it is built from the log", file.display())]
    Missing {
        /// The file that was looked for.
        file: PathBuf,
    },
    /// Bytes differ from what was written.
    #[error("projection {} is damaged in {section}: {detail}; delete it, it is rebuilt from the log", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The part of the file.
        section: String,
        /// What is wrong there.
        detail: String,
    },
    /// The file was written by another version of this program.
    #[error("projection {} has format {found}, this version reads {expected}; delete it, it is rebuilt from the log", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// The version it has.
        found: u32,
        /// The version that can be read.
        expected: u32,
    },
    /// It is that of a sealed vault, and the key is not at hand.
    #[error("projection {} is sealed; open the vault with its key", file.display())]
    Sealed {
        /// The file.
        file: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot use projection {}: {reason}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The kind of failure, for callers that branch on it (a full disk is not damage).
        kind: io::ErrorKind,
        /// What the system said.
        reason: String,
    },
}

impl ProjectionError {
    pub(crate) fn io(file: &Path, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            return Self::Missing { file: file.to_path_buf() };
        }
        Self::Io { file: file.to_path_buf(), kind: error.kind(), reason: error.to_string() }
    }
}

#[cfg(test)]
mod tests;
