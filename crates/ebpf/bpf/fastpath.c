/*
 * The fast path: what containers of one network send each other goes from link to link, past the host's IP stack.
 *
 * Two programs for the ingress of links, and three tables that the agent fills. A program forwards only what the firewall
 * would accept without tracking (a source of its own, source and destination in one network), and only if it fits. All
 * else, and all that it does not understand, it leaves to the kernel's own way, where everything is correct: there is no
 * refusal here. But what cannot be delivered once it was forwarded, to a link that is gone or a neighbour that does not
 * answer, is lost without a word. What must not live here: a verdict that differs from the firewall's.
 *
 * Compiled into fastpath.o, which is kept beside it so that building Hopsack needs no clang:
 *     BLESS=1 cargo test --package hopsack-ebpf --test compiled
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#define SECTION(name) __attribute__((section(name), used))
#define offsetof(type, member) __builtin_offsetof(type, member)
#define INLINE static inline __attribute__((always_inline))
/* Programs run on little-endian machines only: the object is one of `bpfel`. */
#define NETWORK_ORDER(number) __builtin_bswap16(number)

#define TO_THE_KERNEL TC_ACT_UNSPEC

/* The headers that name these need a C library: families, and types of ICMP (RFC 792, RFC 4443). */
#define AF_INET 2
#define AF_INET6 10
#define ICMP_ECHO 8
#define ICMP_ECHOREPLY 0
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

/* Of `frag_off` (RFC 791): more fragments, or not the first. */
#define IP_MORE_OR_OFFSET 0x3fff

static void *(*const bpf_map_lookup_elem)(void *table, const void *key) = (void *) BPF_FUNC_map_lookup_elem;
static long (*const bpf_skb_store_bytes)(struct __sk_buff *skb, __u32 at, const void *from, __u32 length, __u64 flags) =
	(void *) BPF_FUNC_skb_store_bytes;
static long (*const bpf_redirect)(__u32 device, __u64 flags) = (void *) BPF_FUNC_redirect;
static long (*const bpf_redirect_neigh)(__u32 device, struct bpf_redir_neigh *next_hop, int size, __u64 flags) =
	(void *) BPF_FUNC_redirect_neigh;
static long (*const bpf_redirect_peer)(__u32 device, __u64 flags) = (void *) BPF_FUNC_redirect_peer;

/* How the loader reads it, not the kernel. */
struct table {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 flags;
};

/* IPv4 addresses are the mapped ones of IPv6 (RFC 4291, section 2.5.5.2), so that there is one way for both. */
struct address {
	__u32 word[4];
};

struct prefix {
	__u32 length;
	struct address address;
};

/* Where packets for an endpoint, or a prefix of another host, leave. Must be as src/entry.rs writes it. */
struct entry {
	/* Number of the link: the host's end of the endpoint's pair, the tunnel, or the underlay. */
	__u32 device;
	/* Largest IP packet, bytes; 0: none, since this host answers it itself. */
	__u32 mtu;
	__u64 network[2];
	/* Of the container's end, or of the other end of the tunnel; unused where there is a next hop. */
	__u8 mac[ETH_ALEN];
	/* Whether some of its ports are published by this host. */
	__u8 has_ports;
	/* Whether the kernel shall find the MAC address of the next hop. */
	__u8 has_next_hop;
	struct address next_hop;
};

/* A port of an endpoint. Must be as src/entry.rs writes it. */
struct port {
	struct address address;
	/* In network order. */
	__u16 number;
	__u8 protocol;
	__u8 padding;
};

/* This host's endpoints, by address. */
struct table SECTION("maps") endpoints = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(struct address),
	.value_size = sizeof(struct entry),
	.max_entries = 65536,
	.flags = BPF_F_NO_PREALLOC,
};

/* What other hosts hold. */
struct table SECTION("maps") remotes = {
	.type = BPF_MAP_TYPE_LPM_TRIE,
	.key_size = sizeof(struct prefix),
	.value_size = sizeof(struct entry),
	.max_entries = 262144,
	.flags = BPF_F_NO_PREALLOC,
};

/* The endpoints' ports that this host publishes. What is said through them it translates, so it has to see it all. */
struct table SECTION("maps") published = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(struct port),
	.value_size = sizeof(__u8),
	.max_entries = 65536,
	.flags = BPF_F_NO_PREALLOC,
};

struct packet {
	struct prefix source;
	struct prefix destination;
	/* In network order; 0 where the protocol has none. */
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	/* Bytes from the IP header on, of the largest packet that this becomes on the wire. */
	__u32 length;
};

#define MAPPED ((__u32) NETWORK_ORDER(0xffff) << 16)

INLINE void map_v4(struct prefix *prefix, __u32 address)
{
	prefix->length = 128;
	prefix->address.word[0] = 0;
	prefix->address.word[1] = 0;
	prefix->address.word[2] = MAPPED;
	prefix->address.word[3] = address;
}

INLINE int is_mapped(const struct address *address)
{
	return address->word[0] == 0 && address->word[1] == 0 && address->word[2] == MAPPED;
}

/* What a connection's first packets say of segments the kernel fits to the path, so it has to see them; and errors, since
 * they may be about anything. Ports stand first in all protocols that have them. */
INLINE int read_transport(void *start, void *end, struct packet *packet, __u32 *headers)
{
	switch (packet->protocol) {
	case IPPROTO_TCP: {
		struct tcphdr *tcp = start;

		if ((void *) (tcp + 1) > end || tcp->syn)
			return 0;
		*headers += tcp->doff * 4;
		packet->source_port = tcp->source;
		packet->destination_port = tcp->dest;
		return 1;
	}
	case IPPROTO_UDP:
	case IPPROTO_SCTP: {
		__u16 *ports = start;

		if ((void *) (ports + 2) > end)
			return 0;
		packet->source_port = ports[0];
		packet->destination_port = ports[1];
		return 1;
	}
	case IPPROTO_ICMP: {
		__u8 *type = start;

		return (void *) (type + 1) <= end && (*type == ICMP_ECHO || *type == ICMP_ECHOREPLY);
	}
	case IPPROTO_ICMPV6: {
		__u8 *type = start;

		return (void *) (type + 1) <= end &&
		       (*type == ICMPV6_ECHO_REQUEST || *type == ICMPV6_ECHO_REPLY);
	}
	default:
		/* Behind an extension header of IPv6 there may be any of these. */
		return 0;
	}
}

/* Reads what decides. Says no to what only the kernel's own way can do: answer for a packet that is too old, heed options,
 * put fragments together (of which some would fit and others not), pass tags of VLANs. */
INLINE int read(struct __sk_buff *skb, struct packet *packet)
{
	void *start = (void *) (long) skb->data, *end = (void *) (long) skb->data_end;
	void *transport;
	__u32 headers;

	packet->source_port = 0;
	packet->destination_port = 0;
	if (skb->pkt_type != PACKET_HOST || skb->vlan_present)
		return 0;
	if (skb->protocol == NETWORK_ORDER(ETH_P_IP)) {
		struct iphdr *ip = start + ETH_HLEN;

		if ((void *) (ip + 1) > end || ip->version != 4 || ip->ihl != 5 || ip->ttl <= 1 ||
		    (ip->frag_off & NETWORK_ORDER(IP_MORE_OR_OFFSET)))
			return 0;
		map_v4(&packet->source, ip->saddr);
		map_v4(&packet->destination, ip->daddr);
		packet->protocol = ip->protocol;
		transport = ip + 1;
	} else if (skb->protocol == NETWORK_ORDER(ETH_P_IPV6)) {
		struct ipv6hdr *ip = start + ETH_HLEN;

		if ((void *) (ip + 1) > end || ip->version != 6 || ip->hop_limit <= 1)
			return 0;
		packet->source.length = 128;
		__builtin_memcpy(&packet->source.address, &ip->saddr, sizeof(struct address));
		packet->destination.length = 128;
		__builtin_memcpy(&packet->destination.address, &ip->daddr, sizeof(struct address));
		/* Not of this family at all: whoever writes so would pass for what the tables mean by it. */
		if (is_mapped(&packet->source.address) || is_mapped(&packet->destination.address))
			return 0;
		packet->protocol = ip->nexthdr;
		transport = ip + 1;
	} else {
		return 0;
	}
	headers = transport - start - ETH_HLEN;
	if (!read_transport(transport, end, packet, &headers))
		return 0;
	packet->length = skb->len - ETH_HLEN;
	if (!skb->gso_size)
		return 1;
	/* In segments: of others than TCP it cannot be told what comes before each, since there may be a tunnel inside. */
	packet->length = skb->gso_size + headers;
	return packet->protocol == IPPROTO_TCP;
}

/* Whether it is said through a port that this host publishes. */
INLINE int is_published(const struct packet *packet, const struct entry *end, const struct address *address, __u16 number)
{
	struct port port = { .address = *address, .number = number, .protocol = packet->protocol };

	return end->has_ports && bpf_map_lookup_elem(&published, &port);
}

INLINE int fits(const struct packet *packet, const struct entry *entry, const struct entry *other)
{
	return packet->length <= entry->mtu && entry->network[0] == other->network[0] &&
	       entry->network[1] == other->network[1];
}

/* Makes it one hop older and addresses it to the next link, if that is known. The source stays: nobody asks for it. */
INLINE int pass(struct __sk_buff *skb, const struct entry *entry)
{
	void *start = (void *) (long) skb->data, *end = (void *) (long) skb->data_end;

	if (start + ETH_HLEN > end)
		return 0;
	if (!entry->has_next_hop)
		__builtin_memcpy(start, entry->mac, ETH_ALEN);
	if (skb->protocol == NETWORK_ORDER(ETH_P_IP)) {
		struct iphdr *ip = start + ETH_HLEN;
		__u32 sum;

		if ((void *) (ip + 1) > end)
			return 0;
		/* RFC 1624: the time to live is the upper half of its word. The header as a whole sums up as before. */
		sum = ip->check + NETWORK_ORDER(0x0100);
		ip->check = sum + (sum >= 0xffff);
		ip->ttl--;
		return 1;
	}
	/* IPv6 has no sum of its own; one that the sender's card has made of the whole packet has to follow. */
	struct ipv6hdr *ip = start + ETH_HLEN;
	__u8 hop_limit;

	if ((void *) (ip + 1) > end)
		return 0;
	hop_limit = ip->hop_limit - 1;
	return bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, hop_limit), &hop_limit, sizeof(hop_limit),
				   BPF_F_RECOMPUTE_CSUM) == 0;
}

/* To another host: into the tunnel, or to a neighbour on the underlay. */
INLINE int leave(const struct entry *entry)
{
	struct bpf_redir_neigh next_hop = {};

	if (!entry->has_next_hop)
		return bpf_redirect(entry->device, 0);
	if (is_mapped(&entry->next_hop)) {
		next_hop.nh_family = AF_INET;
		next_hop.ipv4_nh = entry->next_hop.word[3];
	} else {
		next_hop.nh_family = AF_INET6;
		__builtin_memcpy(next_hop.ipv6_nh, &entry->next_hop, sizeof(struct address));
	}
	return bpf_redirect_neigh(entry->device, &next_hop, sizeof(next_hop), 0);
}

/* At the host's ends of endpoints' pairs. */
SECTION("classifier/from_endpoint") int from_endpoint(struct __sk_buff *skb)
{
	struct packet packet;
	struct entry *source, *destination;

	if (!read(skb, &packet))
		return TO_THE_KERNEL;
	source = bpf_map_lookup_elem(&endpoints, &packet.source.address);
	if (!source || source->device != skb->ifindex ||
	    is_published(&packet, source, &packet.source.address, packet.source_port))
		return TO_THE_KERNEL;
	destination = bpf_map_lookup_elem(&endpoints, &packet.destination.address);
	if (destination) {
		if (is_published(&packet, destination, &packet.destination.address, packet.destination_port) ||
		    !fits(&packet, destination, source) || !pass(skb, destination))
			return TO_THE_KERNEL;
		return bpf_redirect_peer(destination->device, 0);
	}
	destination = bpf_map_lookup_elem(&remotes, &packet.destination);
	if (!destination || !fits(&packet, destination, source) || !pass(skb, destination))
		return TO_THE_KERNEL;
	return leave(destination);
}

/* At the tunnel. Whether a source belongs to the host that sent it the firewall knew before it was unpacked. */
SECTION("classifier/from_tunnel") int from_tunnel(struct __sk_buff *skb)
{
	struct packet packet;
	struct entry *source, *destination;

	if (!read(skb, &packet))
		return TO_THE_KERNEL;
	destination = bpf_map_lookup_elem(&endpoints, &packet.destination.address);
	if (!destination ||
	    is_published(&packet, destination, &packet.destination.address, packet.destination_port))
		return TO_THE_KERNEL;
	source = bpf_map_lookup_elem(&remotes, &packet.source);
	if (!source || source->device != skb->ifindex || !fits(&packet, destination, source) ||
	    !pass(skb, destination))
		return TO_THE_KERNEL;
	return bpf_redirect_peer(destination->device, 0);
}

/* No helper that it calls asks for another. */
char SECTION("license") terms[] = "Apache-2.0";
