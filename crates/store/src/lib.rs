//! Intent: agreed, versioned key-value state behind one trait.
