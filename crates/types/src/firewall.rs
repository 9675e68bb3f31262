//! The firewall's intermediate form: sets, chains and rules of one nftables table, as data.
