//! Renders and applies one nftables table.
