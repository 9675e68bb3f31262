//! Wrong documents, and what is told of each.

/// What is written, and what is told of it behind `error: standard input, `.
pub type Row = (&'static str, &'static str);

/// What is no YAML, or nothing.
pub const YAML: &[Row] = &[
    ("apiVersion: [", "line 1: this is no YAML: unclosed bracket '['"),
    ("apiVersion: {", "line 1: this is no YAML: unclosed bracket '{'"),
    ("apiVersion: \"hopsack/v1", "line 2: this is no YAML: invalid indentation in multiline quoted scalar"),
    ("apiVersion: 'hopsack/v1", "line 2: this is no YAML: invalid indentation in multiline quoted scalar"),
    ("a: b: c", "line 1: this is no YAML: mapping values are not allowed in this context"),
    ("a: 1\n  b: 2", "line 2: this is no YAML: mapping values are not allowed in this context"),
    ("a:\n\t- b", "line 2: this is no YAML: tabs disallowed within this context (block indentation)"),
    (
        "- a\nb: c",
        "line 2: this is no YAML: while parsing a block collection, did not find expected '-' indicator",
    ),
    ("a: b\n- c", "line 2: this is no YAML: while parsing a block mapping, did not find expected key"),
    ("a: &x 1\nb: *x", "line 2: an alias, *name, is not followed here: write what it stands for"),
    ("a: *nobody", "line 1: this is no YAML: while parsing node, found unknown anchor"),
    ("a: !secret x", "line 1: a tag, !name, means nothing here: leave it out"),
    ("%YAML 3.0\n---\na: 1", "line 1: this is no YAML: unsupported YAML major version"),
    ("? [1]\n: 2", "line 1: a field's name has to be a text"),
    ("a: 1\nb: 2\na: 3", "line 3: \"a\" is there twice, first on line 1: write it once"),
    ("a: \"\\q\"", "line 1: this is no YAML: while parsing a quoted scalar, found unknown escape character"),
    ("a: |\n  x\n y: 1", "line 3: this is no YAML: while parsing a block mapping, did not find expected key"),
    ("{a: 1}}", "line 1: this is no YAML: misplaced bracket"),
    ("a: @x", "line 1: this is no YAML: unexpected character: `@'"),
    ("a: `x`", "line 1: this is no YAML: unexpected character: ``'"),
    ("", " has no document: write one with apiVersion, kind, metadata and spec"),
    ("# nothing\n", " has no document: write one with apiVersion, kind, metadata and spec"),
    ("---\n...\n", " has no document: write one with apiVersion, kind, metadata and spec"),
    ("---\n---\n", " has no document: write one with apiVersion, kind, metadata and spec"),
];

/// Whole documents.
pub const DOCUMENTS: &[Row] = &[
    (
        "hello",
        "document 1, line 1: document: found the text \"hello\": write a mapping, fields with their values",
    ),
    ("5", "document 1, line 1: document: found the number 5: write a mapping, fields with their values"),
    ("true", "document 1, line 1: document: found the value true: write a mapping, fields with their values"),
    ("- 5", "document 1, line 1: document: found the number 5: write a mapping, fields with their values"),
    ("[[]]", "document 1, line 1: document: found a list: write a mapping, fields with their values"),
    (
        "services:\n  web: {}\n",
        "document 1, line 1: services: there is no such field; known: apiVersion, kind, metadata, spec, status",
    ),
    ("kind: Pool\n", "document 1, line 1: apiVersion: is missing: write hopsack/v1"),
    (
        "apiVersion: hopsack/v1\n",
        "document 1, line 1: kind: is missing: write one of Pool, Network, Host, Endpoint",
    ),
    (
        "apiVersion: hopsack/v2\nkind: Pool\n",
        "document 1, line 1: apiVersion: \"hopsack/v2\" is not known: write hopsack/v1",
    ),
    (
        "apiVersion: v1\nkind: Service\n",
        "document 1, line 1: apiVersion: \"v1\" is not known: write hopsack/v1",
    ),
    ("apiVersion: 1\nkind: Pool\n", "document 1, line 1: apiVersion: \"1\" is not known: write hopsack/v1"),
    ("apiVersion: [hopsack/v1]\n", "document 1, line 1: apiVersion: found a list: write a text"),
    ("apiVersion: ~\nkind: Pool\n", "document 1, line 1: apiVersion: is missing: write hopsack/v1"),
    (
        "apiversion: hopsack/v1\nkind: Pool\n",
        "document 1, line 1: apiversion: there is no such field; did you mean apiVersion?",
    ),
    (
        "apiVersion: hopsack/v1\nkind: pool\n",
        "document 1, line 2: kind: there is no kind \"pool\"; did you mean Pool?",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pools\n",
        "document 1, line 2: kind: there is no kind \"Pools\"; did you mean Pool?",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Netwrk\n",
        "document 1, line 2: kind: there is no kind \"Netwrk\"; did you mean Network?",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Service\n",
        "document 1, line 2: kind: there is no kind \"Service\"; known: Pool, Network, Host, Endpoint",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Token\n",
        "document 1, line 2: kind: there is no kind \"Token\"; known: Pool, Network, Host, Endpoint",
    ),
    (
        "apiVersion: hopsack/v1\nkind: 5\n",
        "document 1, line 2: kind: there is no kind \"5\"; known: Pool, Network, Host, Endpoint",
    ),
    ("apiVersion: hopsack/v1\nkind: [Pool]\n", "document 1, line 2: kind: found a list: write a text"),
    (
        "apiVersion: hopsack/v1\nkind: \n",
        "document 1, line 2: kind: is missing: write one of Pool, Network, Host, Endpoint",
    ),
    (
        "apiVersion: hopsack/v1\nKind: Pool\n",
        "document 1, line 2: Kind: there is no such field; did you mean kind?",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmeta: {}\n",
        "document 1, line 3: meta: there is no such field; known: apiVersion, kind, metadata, spec, status",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nspecs: {}\n",
        "document 1, line 3: specs: there is no such field; did you mean spec?",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\n",
        "document 1, line 1: metadata.name: is missing: write the resource's name",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata: lab\n",
        "document 1, line 3: metadata: found the text \"lab\": write a mapping, fields with their values",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata: [lab]\n",
        "document 1, line 3: metadata: found a list: write a mapping, fields with their values",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata: {}\n",
        "document 1, line 3: metadata.name: is missing: write the resource's name",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata:\n  nam: lab\n",
        "document 1, line 4: metadata.nam: there is no such field; did you mean name?",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata:\n  name: lab\n  namespace: x\n",
        "document 1, line 5: metadata.namespace: there is no such field; known: name, labels",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata:\n  name:\n",
        "document 1, line 4: metadata.name: is missing: write the resource's name",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata:\n  name: 5\n",
        "document 1, line 4: metadata.name: found the number 5: write a text, in quotes: \"5\"",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata:\n  name: true\n",
        "document 1, line 4: metadata.name: found the value true: write a text, in quotes: \"true\"",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata:\n  name: [lab]\n",
        "document 1, line 4: metadata.name: found a list: write a text",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata:\n  name: \"\"\n",
        "document 1, line 4: metadata.name: pool name \"\" is not valid: use 1 to 128 of letters, digits, '_', '.' and '-', beginning with a letter or digit",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata:\n  name: my lab\n",
        "document 1, line 4: metadata.name: pool name \"my lab\" is not valid: use 1 to 128 of letters, digits, '_', '.' and '-', beginning with a letter or digit",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata:\n  name: -lab\n",
        "document 1, line 4: metadata.name: pool name \"-lab\" is not valid: use 1 to 128 of letters, digits, '_', '.' and '-', beginning with a letter or digit",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Network\nmetadata:\n  name: web/front\n",
        "document 1, line 4: metadata.name: network name \"web/front\" is not valid: use 1 to 128 of letters, digits, '_', '.' and '-', beginning with a letter or digit",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Network\nmetadata:\n  name: wéb\n",
        "document 1, line 4: metadata.name: network name \"wéb\" is not valid: use 1 to 128 of letters, digits, '_', '.' and '-', beginning with a letter or digit",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: H1\n",
        "document 1, line 4: metadata.name: host name \"H1\" is not valid: use 1 to 63 of a-z, 0-9, '.' and '-', beginning and ending with a letter or digit",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: h1.\n",
        "document 1, line 4: metadata.name: host name \"h1.\" is not valid: use 1 to 63 of a-z, 0-9, '.' and '-', beginning and ending with a letter or digit",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh\n",
        "document 1, line 4: metadata.name: host name \"hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh\" is not valid: use 1 to 63 of a-z, 0-9, '.' and '-', beginning and ending with a letter or digit",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Endpoint\nmetadata:\n  name: web\n",
        "document 1, line 4: metadata.name: endpoint id \"web\" must be 32 hexadecimal digits",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Endpoint\nmetadata:\n  name: gggggggggggggggggggggggggggggggg\n",
        "document 1, line 4: metadata.name: endpoint id \"gggggggggggggggggggggggggggggggg\" must be 32 hexadecimal digits",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: h1\n  labels: [a]\n",
        "document 1, line 5: metadata.labels: found a list: write a mapping, keys with their texts",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: h1\n  labels: a=b\n",
        "document 1, line 5: metadata.labels: found the text \"a=b\": write a mapping, keys with their texts",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: h1\n  labels:\n    rack: 5\n",
        "document 1, line 6: metadata.labels.rack: found the number 5: write a text, in quotes: \"5\"",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: h1\n  labels:\n    rack: true\n",
        "document 1, line 6: metadata.labels.rack: found the value true: write a text, in quotes: \"true\"",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: h1\n  labels:\n    rack:\n",
        "document 1, line 6: metadata.labels.rack: found nothing: write a text",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: h1\n  labels:\n    rack: {a: b}\n",
        "document 1, line 6: metadata.labels.rack: found a mapping: write a text",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: h1\n  labels:\n    \"\": b\n",
        "document 1, line 6: metadata.labels.: a label's key is empty: write one, like role: web",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: h1\n  label:\n    a: b\n",
        "document 1, line 5: metadata.label: there is no such field; did you mean labels?",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: h1\nspec: 5\n",
        "document 1, line 5: spec: found the number 5: write a mapping, fields with their values",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: h1\nspec:\n  underlay: 10.0.0.1\n",
        "document 1, line 6: spec.underlay: there is no such field: nothing can be written here",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Host\nmetadata:\n  name: h1\nspec:\n  labels: {}\n",
        "document 1, line 6: spec.labels: there is no such field: nothing can be written here",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Endpoint\nmetadata:\n  name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nspec:\n  network: web\n",
        "document 1, line 6: spec.network: there is no such field: nothing can be written here",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata:\n  name: lab\nspec:\n  cidr: 10.99.0.0/16\n---\napiVersion: hopsack/v1\nkind: Pol\n",
        "document 2, line 9: kind: there is no kind \"Pol\"; did you mean Pool?",
    ),
    (
        "apiVersion: hopsack/v1\nkind: Pool\nmetadata:\n  name: lab\nspec:\n  cidr: 10.99.0.0/16\n---\n# nothing\n---\napiVersion: hopsack/v1\nkind: Pool\nmetadata:\n  name: lab\nspec:\n  cidr: 10.99.0.1/16\n",
        "document 2, line 15: spec.cidr: 10.99.0.1/16 has host bits set: did you mean 10.99.0.0/16?",
    ),
    (
        "[{\"apiVersion\": \"hopsack/v1\", \"kind\": \"Pool\", \"metadata\": {\"name\": \"lab\"}},\n {\"apiVersion\": \"hopsack/v1\", \"kind\": \"Pool\",\n  \"metadata\": {\"name\": 7}}]",
        "document 2, line 3: metadata.name: found the number 7: write a text, in quotes: \"7\"",
    ),
];

/// One line, two spaces deep, below the spec of a pool, which begins on line 6.
pub const POOLS: &[Row] = &[
    (
        "cidr: ten",
        "document 1, line 6: spec.cidr: \"ten\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "cidr: 10.99.0.0",
        "document 1, line 6: spec.cidr: \"10.99.0.0\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "cidr: 10.99.0.1/16",
        "document 1, line 6: spec.cidr: 10.99.0.1/16 has host bits set: did you mean 10.99.0.0/16?",
    ),
    (
        "cidr: 10.99.0.0/33",
        "document 1, line 6: spec.cidr: \"10.99.0.0/33\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "cidr: 10.99/16",
        "document 1, line 6: spec.cidr: \"10.99/16\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "cidr: fd00::1/48",
        "document 1, line 6: spec.cidr: fd00::1/48 has host bits set: did you mean fd00::/48?",
    ),
    (
        "cidr: 10.99",
        "document 1, line 6: spec.cidr: \"10.99\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "cidr: 5",
        "document 1, line 6: spec.cidr: \"5\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    ("cidr: [10.99.0.0/16]", "document 1, line 6: spec.cidr: found a list: write a text"),
    ("cidr: {}", "document 1, line 6: spec.cidr: found a mapping: write a text"),
    (
        "cidr: \"\"",
        "document 1, line 6: spec.cidr: \"\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    ("cidrs: 10.99.0.0/16", "document 1, line 6: spec.cidrs: there is no such field; did you mean cidr?"),
    ("CIDR: 10.99.0.0/16", "document 1, line 6: spec.CIDR: there is no such field; did you mean cidr?"),
    (
        "subnet: 10.99.0.0/16",
        "document 1, line 6: spec.subnet: there is no such field; known: cidr, natOutgoing, disabled",
    ),
    ("natOutgoing: yes", "document 1, line 6: spec.natOutgoing: found the text \"yes\": write true or false"),
    ("natOutgoing: 1", "document 1, line 6: spec.natOutgoing: found the number 1: write true or false"),
    (
        "natOutgoing: \"true\"",
        "document 1, line 6: spec.natOutgoing: found the text \"true\": write true or false",
    ),
    (
        "nat_outgoing: true",
        "document 1, line 6: spec.nat_outgoing: there is no such field; did you mean natOutgoing?",
    ),
    (
        "natoutgoing: true",
        "document 1, line 6: spec.natoutgoing: there is no such field; did you mean natOutgoing?",
    ),
    ("disabled: maybe", "document 1, line 6: spec.disabled: found the text \"maybe\": write true or false"),
    ("disabled: [true]", "document 1, line 6: spec.disabled: found a list: write true or false"),
    ("disable: true", "document 1, line 6: spec.disable: there is no such field; did you mean disabled?"),
];

/// The same of a network.
pub const NETWORKS: &[Row] = &[
    (
        "subnets: 10.99.0.0/24",
        "document 1, line 6: spec.subnets: found the text \"10.99.0.0/24\": write a list",
    ),
    (
        "subnets: []",
        "document 1, line 6: spec.subnets: is empty: write at least one subnet, or leave the field out for the next free one",
    ),
    (
        "subnets: [ten]",
        "document 1, line 6: spec.subnets[0]: \"ten\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    (
        "subnets: [10.99.0.1/24]",
        "document 1, line 6: spec.subnets[0]: 10.99.0.1/24 has host bits set: did you mean 10.99.0.0/24?",
    ),
    (
        "subnets: [10.99.0.0/24, 10.99.0.0/24]",
        "document 1, line 6: spec.subnets[1]: \"10.99.0.0/24\" is there twice: write it once",
    ),
    (
        "subnets: [10.99.0.0/24, 5]",
        "document 1, line 6: spec.subnets[1]: \"5\" is not a CIDR: write an address and a prefix length, like 10.32.0.0/24",
    ),
    ("subnets: [~]", "document 1, line 6: spec.subnets[0]: found nothing: write a text"),
    ("subnets: [[10.99.0.0/24]]", "document 1, line 6: spec.subnets[0]: found a list: write a text"),
    ("subnets: {v4: 10.99.0.0/24}", "document 1, line 6: spec.subnets: found a mapping: write a list"),
    (
        "subnet: [10.99.0.0/24]",
        "document 1, line 6: spec.subnet: there is no such field; did you mean subnets?",
    ),
    (
        "subnets:\n    - 10.99.0.0/24\n    - fd00::1/64",
        "document 1, line 8: spec.subnets[1]: fd00::1/64 has host bits set: did you mean fd00::/64?",
    ),
    ("ipv6: both", "document 1, line 6: spec.ipv6: found the text \"both\": write true or false"),
    ("ipv6: 6", "document 1, line 6: spec.ipv6: found the number 6: write true or false"),
    ("ipv4: true", "document 1, line 6: spec.ipv4: there is no such field; did you mean ipv6?"),
    (
        "ranges: 10.99.0.0/25",
        "document 1, line 6: spec.ranges: found the text \"10.99.0.0/25\": write a list",
    ),
    (
        "ranges: [10.99.0.1/25]",
        "document 1, line 6: spec.ranges[0]: 10.99.0.1/25 has host bits set: did you mean 10.99.0.0/25?",
    ),
    ("ipRanges: []", "document 1, line 6: spec.ipRanges: there is no such field; did you mean ranges?"),
    ("gateways: 10.99.0.1", "document 1, line 6: spec.gateways: found the text \"10.99.0.1\": write a list"),
    (
        "gateways: [10.99.0.1/24]",
        "document 1, line 6: spec.gateways[0]: \"10.99.0.1/24\" is not an address: write one without a prefix length, like 10.32.0.5 or fd00::5",
    ),
    (
        "gateways: [gw]",
        "document 1, line 6: spec.gateways[0]: \"gw\" is not an address: write one without a prefix length, like 10.32.0.5 or fd00::5",
    ),
    (
        "gateways: [10.99.0.300]",
        "document 1, line 6: spec.gateways[0]: \"10.99.0.300\" is not an address: write one without a prefix length, like 10.32.0.5 or fd00::5",
    ),
    (
        "gateways: [10.99.0.1, 10.99.0.1]",
        "document 1, line 6: spec.gateways[1]: \"10.99.0.1\" is there twice: write it once",
    ),
    (
        "gateway: 10.99.0.1",
        "document 1, line 6: spec.gateway: there is no such field; did you mean gateways?",
    ),
    (
        "reserved: [10.99.0.9]",
        "document 1, line 6: spec.reserved: found a list: write a mapping, keys with their texts",
    ),
    (
        "reserved:\n    router: 10.99.0.9",
        "document 1, line 7: spec.reserved.router: \"router\" is not an address: write one without a prefix length, like 10.32.0.5 or fd00::5",
    ),
    (
        "reserved:\n    10.99.0.9: 5",
        "document 1, line 7: spec.reserved.10.99.0.9: found the number 5: write a text, in quotes: \"5\"",
    ),
    ("reserved:\n    10.99.0.9:", "document 1, line 7: spec.reserved.10.99.0.9: found nothing: write a text"),
    (
        "reserved: 10.99.0.9",
        "document 1, line 6: spec.reserved: found the text \"10.99.0.9\": write a mapping, keys with their texts",
    ),
    ("isolation: some", "document 1, line 6: spec.isolation: \"some\" is not known here; did you mean none?"),
    ("isolation: Full", "document 1, line 6: spec.isolation: \"Full\" is not known here; did you mean full?"),
    ("isolation: nono", "document 1, line 6: spec.isolation: \"nono\" is not known here; did you mean none?"),
    ("isolation: true", "document 1, line 6: spec.isolation: \"true\" is not known here; known: full, none"),
    ("isolation: []", "document 1, line 6: spec.isolation: found a list: write a text"),
    ("isolated: full", "document 1, line 6: spec.isolated: there is no such field; did you mean isolation?"),
    ("internal: no", "document 1, line 6: spec.internal: found the text \"no\": write true or false"),
    ("internal: 0", "document 1, line 6: spec.internal: found the number 0: write true or false"),
    ("exit: bridge", "document 1, line 6: spec.exit: \"bridge\" is not known here; known: hopsack, docker"),
    ("exit: dokcer", "document 1, line 6: spec.exit: \"dokcer\" is not known here; did you mean docker?"),
    ("exit: ~x", "document 1, line 6: spec.exit: \"~x\" is not known here; known: hopsack, docker"),
    (
        "mtu: 575",
        "document 1, line 6: spec.mtu: found the number 575: write a whole number of bytes from 576 to 65535",
    ),
    (
        "mtu: 65536",
        "document 1, line 6: spec.mtu: found the number 65536: write a whole number of bytes from 576 to 65535",
    ),
    (
        "mtu: -1",
        "document 1, line 6: spec.mtu: found the number -1: write a whole number of bytes from 576 to 65535",
    ),
    (
        "mtu: 1400.5",
        "document 1, line 6: spec.mtu: found the number 1400.5: write a whole number of bytes from 576 to 65535",
    ),
    (
        "mtu: \"1400\"",
        "document 1, line 6: spec.mtu: found the text \"1400\": write a whole number of bytes from 576 to 65535",
    ),
    (
        "mtu: big",
        "document 1, line 6: spec.mtu: found the text \"big\": write a whole number of bytes from 576 to 65535",
    ),
    (
        "mtu: 1e3",
        "document 1, line 6: spec.mtu: found the number 1000.0: write a whole number of bytes from 576 to 65535",
    ),
    (
        "mtu: [1400]",
        "document 1, line 6: spec.mtu: found a list: write a whole number of bytes from 576 to 65535",
    ),
    ("mtus: 1400", "document 1, line 6: spec.mtus: there is no such field; did you mean mtu?"),
    (
        "labels: {}",
        "document 1, line 6: spec.labels: there is no such field; known: subnets, ipv6, ranges, gateways, reserved, isolation, internal, exit, mtu",
    ),
    (
        "name: web",
        "document 1, line 6: spec.name: there is no such field; known: subnets, ipv6, ranges, gateways, reserved, isolation, internal, exit, mtu",
    ),
];
