//! The rows about data planes: which there are, what each is compared with and what it has to reach. Measuring them is
//! not done here, so a test can look at the table.

use crate::report::{Bar, Row};
use crate::sample::Sample;
use std::collections::BTreeMap;
use std::fmt;

/// Whether network cards cut segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Regime {
    /// They do: segments of up to 64 KB pass the cable, as if both ends' cards knew all encapsulations.
    Offload,
    /// They do not: packets of the MTU cross the cable, as with a plain card.
    Wire,
}

impl Regime {
    /// In the order of the table.
    pub const ALL: [Self; 2] = [Self::Offload, Self::Wire];

    /// Ends the names of its rows.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Offload => "",
            Self::Wire => ".wire",
        }
    }
}

/// How packets get from one end to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plane {
    /// From host to host, without containers.
    Host,
    /// By bridges and routes between hosts of one segment, made by hand as Flannel's `host-gw` makes them.
    HandDirect,
    /// Ours on the same segment.
    HopsackDirect,
    /// By bridges and a VXLAN device, made by hand as Flannel's `vxlan` makes them.
    HandVxlan,
    /// Ours where the way is by VXLAN.
    HopsackVxlan,
    /// Docker's own overlay network.
    DockerOverlay,
}

impl Plane {
    /// In the order of the table.
    pub const ALL: [Self; 6] = [
        Self::Host,
        Self::HandDirect,
        Self::HopsackDirect,
        Self::HandVxlan,
        Self::HopsackVxlan,
        Self::DockerOverlay,
    ];

    /// Begins the names of its rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::HandDirect => "hand-direct",
            Self::HopsackDirect => "hopsack-direct",
            Self::HandVxlan => "hand-vxlan",
            Self::HopsackVxlan => "hopsack-vxlan",
            Self::DockerOverlay => "docker-overlay",
        }
    }

    /// Whose figure it is compared with.
    pub const fn against(self) -> Option<Self> {
        match self {
            Self::Host => None,
            Self::HandDirect | Self::HandVxlan => Some(Self::Host),
            Self::HopsackDirect => Some(Self::HandDirect),
            Self::HopsackVxlan => Some(Self::HandVxlan),
            Self::DockerOverlay => Some(Self::HopsackVxlan),
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// A stream.
    Tcp1,
    /// Eight at once.
    Tcp8,
    /// One byte there and back over one connection.
    RoundTrips,
    /// A connection for one byte there and back.
    Connections,
    /// Datagrams of 64 bytes.
    Udp64,
    /// Datagrams of 1,400 bytes.
    Udp1400,
    /// Echo requests, one after the other.
    Ping,
}

impl Metric {
    /// In the order of the table.
    pub const ALL: [Self; 7] =
        [Self::Tcp1, Self::Tcp8, Self::RoundTrips, Self::Connections, Self::Udp64, Self::Udp1400, Self::Ping];

    /// Its name in names of rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp1 => "tcp1",
            Self::Tcp8 => "tcp8",
            Self::RoundTrips => "rr",
            Self::Connections => "crr",
            Self::Udp64 => "udp64",
            Self::Udp1400 => "udp1400",
            Self::Ping => "ping",
        }
    }

    /// What its figures are in. More is better, but for the time of a ping.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Tcp1 | Self::Tcp8 => "Gbit/s",
            Self::Ping => "us",
            Self::RoundTrips | Self::Connections | Self::Udp64 | Self::Udp1400 => "/s",
        }
    }
}

/// What a plane has to reach beside the one that it is compared with.
fn bar(plane: Plane, metric: Metric) -> Option<Bar> {
    match (plane, metric) {
        (Plane::HopsackDirect | Plane::HopsackVxlan, Metric::Tcp1 | Metric::Tcp8) => {
            Some(Bar::RatioAtLeast(0.97))
        }
        (Plane::HopsackDirect | Plane::HopsackVxlan, Metric::RoundTrips | Metric::Connections) => {
            Some(Bar::RatioAtLeast(0.92))
        }
        // Its figure is divided by ours, so these say that ours is at least as high, or 0.95 of it.
        (Plane::DockerOverlay, Metric::Tcp1 | Metric::Tcp8) => Some(Bar::RatioAtMost(1.0)),
        (Plane::DockerOverlay, Metric::RoundTrips | Metric::Connections) => {
            Some(Bar::RatioAtMost(1.0 / 0.95))
        }
        _ => None,
    }
}

/// One row's place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// With segmentation offload, or on the wire.
    pub regime: Regime,
    /// What is counted.
    pub metric: Metric,
    /// Over what.
    pub plane: Plane,
}

impl Cell {
    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        let steps = Regime::ALL.into_iter().flat_map(|regime| Metric::ALL.map(|metric| (regime, metric)));
        steps.flat_map(|(regime, metric)| Plane::ALL.map(|plane| Self { regime, metric, plane }))
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}{}", self.plane.name(), self.metric.name(), self.regime.suffix())
    }
}

/// What was measured, in turn within a metric and regime.
pub type Samples = BTreeMap<Cell, Sample>;

/// The rows of all data planes.
pub fn rows(samples: &Samples) -> Vec<Row> {
    let row = |cell: Cell| {
        let sample = samples.get(&cell)?;
        let mut row = Row::alone(cell.to_string(), cell.metric.unit(), sample);
        if let Some(other) = cell.plane.against() {
            let base = samples.get(&Cell { plane: other, ..cell })?;
            row = row.against(other.name(), sample, base);
        }
        Some(match bar(cell.plane, cell.metric) {
            Some(bar) => row.bar(bar),
            None => row,
        })
    };
    Cell::all().filter_map(row).collect()
}
