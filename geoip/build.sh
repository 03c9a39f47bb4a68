#!/bin/sh
# Makes countries.csv and country.mmdb beside this script, from Debian's tor-geoipdb and tzdata.
# usage: geoip/build.sh [MERIDIAN]     MERIDIAN: the command to build with, default: cargo run --release --
set -eu
here=$(cd "$(dirname "$0")" && pwd)
zones=/usr/share/zoneinfo/zone.tab
ipv4=/usr/share/tor/geoip
ipv6=/usr/share/tor/geoip6
for file in "$zones" "$ipv4" "$ipv6"; do
    [ -r "$file" ] || { echo "$0: $file is missing: apt-get install tzdata tor-geoipdb" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Each country's continent, as MaxMind assigns it, and the coordinates of its most populous time zone. A country with
# several zones and none named here stops the script.
LC_ALL=C awk -F '\t' '
BEGIN {
    n = split("AQ=McMurdo AR=Buenos_Aires AU=Sydney BR=Sao_Paulo CA=Toronto CD=Kinshasa CL=Santiago CN=Shanghai " \
        "CY=Nicosia DE=Berlin EC=Guayaquil ES=Madrid FM=Chuuk GL=Nuuk ID=Jakarta KI=Tarawa KZ=Almaty MH=Majuro " \
        "MN=Ulaanbaatar MX=Mexico_City MY=Kuala_Lumpur NZ=Auckland PF=Tahiti PG=Port_Moresby PS=Hebron PT=Lisbon " \
        "RU=Moscow UA=Kyiv UM=Wake US=New_York UZ=Tashkent", pairs, " ")
    for (i = 1; i <= n; i++) { split(pairs[i], pair, "="); chosen[pair[1]] = pair[2] }
    # Not in zone.tab: nobody lives on the first two; XK is in use for Kosovo (Pristina).
    place["BV"] = "-54.42,3.36"; place["HM"] = "-53.10,73.52"; place["XK"] = "42.67,21.17"
    continents("AF", "AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU " \
        "MW MZ NA NE NG RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW")
    continents("AN", "AQ BV GS HM TF")
    continents("AS", "AE AF AM AZ BD BH BN BT CC CN GE HK ID IL IN IO IQ IR JO JP KG KH KP KR KW KZ LA LB LK MM MN MO MV " \
        "MY NP OM PH PK PS QA SA SG SY TH TJ TM TR TW UZ VN YE")
    continents("EU", "AD AL AT AX BA BE BG BY CH CY CZ DE DK EE ES FI FO FR GB GG GI GR HR HU IE IM IS IT JE LI LT LU LV " \
        "MC MD ME MK MT NL NO PL PT RO RS RU SE SI SJ SK SM UA VA XK")
    continents("NA", "AG AI AW BB BL BM BQ BS BZ CA CR CU CW DM DO GD GL GP GT HN HT JM KN KY LC MF MQ MS MX NI PA PM PR " \
        "SV SX TC TT US VC VG VI")
    continents("OC", "AS AU CK CX FJ FM GU KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TL TO TV UM VU WF WS")
    continents("SA", "AR BO BR CL CO EC FK GF GY PE PY SR UY VE")
}
function continents(continent, codes,    list, i, n) {
    n = split(codes, list, " ")
    for (i = 1; i <= n; i++) continent_of[list[i]] = continent
}
# ±DDMM[SS] or ±DDDMM[SS] → degrees
function degrees(text, width,    value) {
    value = substr(text, 2, width) + substr(text, 2 + width, 2) / 60 + substr(text, 4 + width, 2) / 3600
    return (substr(text, 1, 1) == "-" ? -value : value)
}
/^#/ { next }
{
    zones_of[$1]++
    name = $3; sub(/.*\//, "", name)
    if (($1 in chosen) ? name == chosen[$1] : !($1 in place)) {
        east = match(substr($2, 2), /[+-]/) + 1
        place[$1] = sprintf("%.2f,%.2f", degrees(substr($2, 1, east - 1), 2), degrees(substr($2, east), 3))
    }
}
END {
    for (code in zones_of) if (zones_of[code] > 1 && !(code in chosen)) { print code ": which zone?" > "/dev/stderr"; exit 1 }
    for (code in place) if (!(code in continent_of)) { print code ": which continent?" > "/dev/stderr"; exit 1 }
    for (code in continent_of) if (!(code in place)) { print code ": where?" > "/dev/stderr"; exit 1 }
    for (code in place) print code "," continent_of[code] "," place[code]
}' "$zones" > "$work/countries"
{ echo code,continent,latitude,longitude; LC_ALL=C sort "$work/countries"; } > "$here/countries.csv"

# The networks. EU and AP stand for continents: they get Brussels' and Singapore's coordinates. Codes that are no countries any
# more are their successors'; those that never were, and IPv6 forms of IPv4 addresses, are left out.
{
    echo network,continent,country,latitude,longitude
    LC_ALL=C awk -F , '
    BEGIN { now["UK"] = "GB"; now["CS"] = "RS"; now["AN"] = "CW"; now["SU"] = "RU" }
    FILENAME == ARGV[1] { if (FNR > 1) known[$1]; if ($1 == "BE") be = $3 "," $4; if ($1 == "SG") sg = $3 "," $4; next }
    /^#/ || NF != 3 { next }
    function dotted(n) { return int(n / 16777216) "." int(n / 65536) % 256 "." int(n / 256) % 256 "." n % 256 }
    {
        range = $1 ~ /:/ ? $1 "-" $2 : dotted($1) "-" dotted($2)
        if ($1 ~ /^(::|2002:|2001:0?:|64:ff9b:)/) next
        code = $3 in now ? now[$3] : $3
        if (code == "EU") print range ",EU,," be
        else if (code == "AP") print range ",AS,," sg
        else if (code in known) print range ",," code ",,"
    }' "$here/countries.csv" "$ipv4" "$ipv6"
} > "$work/networks.csv"

# As old as the data.
generated=$(sed -n 's/^# Generated: //p' "$ipv4" | head -n 1)
SOURCE_DATE_EPOCH=$(date -u -d "$generated" +%s)
export SOURCE_DATE_EPOCH
${1:-cargo run --quiet --release --manifest-path "$here/../Cargo.toml" --} geoip build "$work/networks.csv" -o "$here/country.mmdb"
echo "$(($(wc -l < "$work/networks.csv") - 1)) ranges of $generated"
