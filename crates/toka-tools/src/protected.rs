//! Places that no tool opens, whatever a grant says.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Stat, stat};

/// A file or folder, by device and inode: every path to it, and every hard link, leads to the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "the fields' types differ between systems"
    )]
    pub(crate) fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev as u64, inode: stat.st_ino as u64 }
    }
}

/// Places that no tool opens: the vault's own folder, the operator's state folder, the secret store.
///
/// A place is known by what it is (device and inode) and by its name in the folder that holds it, so that
/// neither another path to it nor replacing it opens it. Whatever lies below it is protected too.
#[derive(Clone, Debug, Default)]
pub struct Protected(Arc<Places>);

#[derive(Debug, Default)]
struct Places {
    identities: Vec<Identity>,
    names: Vec<(Identity, OsString)>,
}

impl Protected {
    /// Nothing is protected.
    pub fn none() -> Self {
        Self::default()
    }

    /// Protects each of `paths`, which need not exist yet as long as the folder that is to hold it does; one
    /// of which that folder is missing too is passed over, since nothing can lie there.
    ///
    /// # Errors
    /// An error of the operating system other than that something does not exist.
    pub fn new<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> io::Result<Self> {
        let mut places = Places::default();
        for path in paths {
            // Where a link stands, the place it leads to is meant as well as the link.
            let path = std::path::absolute(path.as_ref())?;
            places.add(&path)?;
            match path.canonicalize() {
                Ok(real) if real != path => places.add(&real)?,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self(Arc::new(places)))
    }

    pub(crate) fn has(&self, identity: Identity) -> bool {
        self.0.identities.contains(&identity)
    }

    /// True if `name` in the folder `parent` is protected.
    pub(crate) fn has_name(&self, parent: Identity, name: &[u8]) -> bool {
        self.0.names.iter().any(|(folder, n)| *folder == parent && n.as_bytes() == name)
    }

    /// True if the folder at `path` lies in a protected place.
    pub(crate) fn contains(&self, path: &Path) -> io::Result<bool> {
        if self.0.identities.is_empty() && self.0.names.is_empty() {
            return Ok(false);
        }
        for ancestor in path.canonicalize()?.ancestors() {
            let inside = self.has(Identity::of(&stat(ancestor)?));
            let named = match (ancestor.parent(), ancestor.file_name()) {
                (Some(parent), Some(name)) => self.has_name(Identity::of(&stat(parent)?), name.as_bytes()),
                _ => false,
            };
            if inside || named {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Places {
    fn add(&mut self, path: &Path) -> io::Result<()> {
        let identity = |path: &Path| match stat(path) {
            Ok(stat) => Ok(Some(Identity::of(&stat))),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(io::Error::from(error)),
        };
        self.identities.extend(identity(path)?);
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name().map(OsStr::to_owned))
            && let Some(parent) = identity(parent)?
        {
            self.names.push((parent, name));
        }
        Ok(())
    }
}
