//! One data structure for every kernel table: desired against observed.
