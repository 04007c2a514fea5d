//! The key of a sealed vault's projections.

#[cfg(feature = "seal")]
pub(crate) use crate::seal::FileKey;
#[cfg(feature = "seal")]
pub use crate::seal::ProjectionKey;

/// The key of a sealed vault's projections: without the feature `seal` there is none.
#[cfg(not(feature = "seal"))]
#[derive(Clone, Debug)]
pub enum ProjectionKey {}

/// The key of one projection file: without the feature `seal` there is none.
#[cfg(not(feature = "seal"))]
#[derive(Clone, Debug)]
pub(crate) enum FileKey {}

#[cfg(not(feature = "seal"))]
impl FileKey {
    pub(crate) fn open(&self, _: u64, _: &mut [u8], _: &[u8; 16]) -> bool {
        match *self {}
    }
}
