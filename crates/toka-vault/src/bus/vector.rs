//! Vectors as events: `vector.recorded`, with the event they belong to as parent.

use serde::{Deserialize, Serialize};
use toka_types::{EventHeader, EventId, Kind};

use crate::core::{Event, NewEvent, decode, encode};
use crate::store::{Store, StoreError};

/// The kind of an event that holds a vector.
pub const VECTOR_KIND: &str = "vector.recorded";
/// Most dimensions of a vector: four times what today's largest text embedders give.
pub const MAX_DIMENSIONS: usize = 16_384;
/// The largest quantised value; symmetric, so that negation is exact.
const MAX_QUANTISED: f32 = i16::MAX as f32;

/// What [`VaultBus::commit`](crate::VaultBus::commit) takes as a vector: a slice, an array, a `Vec<f32>`,
/// an `ndarray::Array1` with the feature `ndarray`, or `()` or `None` for no vector.
pub trait IntoVector {
    /// The values; `None` for no vector.
    fn into_vector(self) -> Option<Vec<f32>>;
}

/// The facts of a `vector.recorded` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorFacts {
    /// How many dimensions the vector has.
    pub dimensions: u32,
}

/// The content of a `vector.recorded` event: 16 bits a dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorContent {
    /// What a quantised value is multiplied with.
    pub scale: f32,
    /// Little-endian 16-bit integers, one a dimension.
    #[serde(with = "serde_bytes")]
    pub values: Vec<u8>,
    /// The id of the embedder that made it; none where the caller handed it in. Vectors of different embedders are not
    /// compared, whatever their dimensions are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedder: Option<String>,
}

/// The facts as far as they say anything of dimensions.
#[derive(Deserialize)]
struct StatedFacts {
    #[serde(default)]
    dimensions: Option<u32>,
}

impl VectorContent {
    /// Quantises `vector`. Refuses an empty one, one of too many dimensions, and values that are not finite.
    pub fn quantise(vector: &[f32]) -> Result<Self, StoreError> {
        if vector.is_empty() || vector.len() > MAX_DIMENSIONS {
            let what = format!("has {} dimensions; 1 to {MAX_DIMENSIONS} are allowed", vector.len());
            return Err(StoreError::Vector(what));
        }
        if let Some((at, value)) = vector.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(StoreError::Vector(format!(
                "has the value {value} at index {at}; values must be finite"
            )));
        }
        let largest = vector.iter().fold(0f32, |max, value| max.max(value.abs()));
        let scale = if largest > 0.0 { largest / MAX_QUANTISED } else { 1.0 };
        let quantise = |value: &f32| (value / scale).round().clamp(-MAX_QUANTISED, MAX_QUANTISED) as i16;
        let values = vector.iter().flat_map(|value| quantise(value).to_le_bytes()).collect();
        Ok(Self { scale, values, embedder: None })
    }

    /// The vector, each value within half a `scale` of what was recorded.
    pub fn restore(&self) -> Vec<f32> {
        let (pairs, _) = self.values.as_chunks::<2>();
        pairs.iter().map(|&pair| f32::from(i16::from_le_bytes(pair)) * self.scale).collect()
    }

    /// The components as they are stored.
    pub fn components(&self) -> Vec<i16> {
        let (pairs, _) = self.values.as_chunks::<2>();
        pairs.iter().map(|&pair| i16::from_le_bytes(pair)).collect()
    }
}

/// The event that records `vector` for the event `of`.
pub fn vector_event(of: EventId, vector: &[f32]) -> Result<NewEvent, StoreError> {
    let content = VectorContent::quantise(vector)?;
    let facts = encode(&VectorFacts { dimensions: vector.len() as u32 })?;
    let event = NewEvent::new(Kind::new(VECTOR_KIND)?).parents([of]).facts(facts.bytes().to_vec());
    Ok(event.payload(&content)?)
}

/// The vector that `event` records; `None` if it records none.
pub fn vector_of(event: &Event) -> Result<Option<Vec<f32>>, StoreError> {
    if event.header.kind != VECTOR_KIND {
        return Ok(None);
    }
    Ok(Some(decode::<VectorContent>(event)?.restore()))
}

/// Checks the dimensions that `header` states, if it is a vector's, against the vault's and against
/// those of the batch so far. What an agent of a runtime records states none: it is an observation, whose content names
/// the embedder, so that vectors of several sizes can lie in one vault.
pub(crate) fn check_dimension(
    store: &dyn Store,
    header: &EventHeader,
    in_batch: &mut Option<u32>,
) -> Result<(), StoreError> {
    if header.kind != VECTOR_KIND {
        return Ok(());
    }
    if header.facts.is_empty() {
        return Ok(());
    }
    let facts: StatedFacts = rmp_serde::from_slice(&header.facts).map_err(|error| {
        StoreError::Vector(format!("event {} has no facts of a vector: {error}", header.id))
    })?;
    let Some(found) = facts.dimensions else { return Ok(()) };
    match store.dimension()?.or(*in_batch) {
        Some(expected) if expected != found => Err(StoreError::Dimension { expected, found }),
        _ => {
            *in_batch = Some(found);
            Ok(())
        }
    }
}

impl IntoVector for () {
    fn into_vector(self) -> Option<Vec<f32>> {
        None
    }
}

impl<V: IntoVector> IntoVector for Option<V> {
    fn into_vector(self) -> Option<Vec<f32>> {
        self.and_then(V::into_vector)
    }
}

impl IntoVector for &[f32] {
    fn into_vector(self) -> Option<Vec<f32>> {
        Some(self.to_vec())
    }
}

impl<const N: usize> IntoVector for [f32; N] {
    fn into_vector(self) -> Option<Vec<f32>> {
        Some(self.to_vec())
    }
}

impl<const N: usize> IntoVector for &[f32; N] {
    fn into_vector(self) -> Option<Vec<f32>> {
        Some(self.to_vec())
    }
}

impl IntoVector for Vec<f32> {
    fn into_vector(self) -> Option<Vec<f32>> {
        Some(self)
    }
}

impl IntoVector for &Vec<f32> {
    fn into_vector(self) -> Option<Vec<f32>> {
        Some(self.clone())
    }
}

#[cfg(feature = "ndarray")]
impl IntoVector for ndarray::Array1<f32> {
    fn into_vector(self) -> Option<Vec<f32>> {
        Some(self.to_vec())
    }
}

#[cfg(feature = "ndarray")]
impl IntoVector for ndarray::Array1<f64> {
    fn into_vector(self) -> Option<Vec<f32>> {
        Some(self.iter().map(|&value| value as f32).collect())
    }
}
