# Links, addresses, routes, rules, firewalls and settings of a host, as people see them. Counters and times are left out.
ip -o address | sed 's/ valid_lft.*//'
ip -o link | sed 's/^[0-9]*: //'
for family in -4 -6; do ip $family rule; ip $family route show table all; done
nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'
grep -r '' /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf 2>/dev/null | sort
