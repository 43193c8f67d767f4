//! The pipeline in virtual time.

mod hot;

pub(super) use hot::Hot;
