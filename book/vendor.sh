#!/bin/sh
# Fills book/_static/vendor and tests/site/axe from the npm registry, so that no page asks a third
# party for anything.  Run once per new version, by hand; commit the result with its SHA256SUMS.
set -eu
book=$(cd "$(dirname "$0")" && pwd)
vendor=$book/_static/vendor
axe=$book/../tests/site/axe
work=$(mktemp -d)
cd "$work"

unpack() { tar xzf "$(npm pack --silent "$1")" && rm -rf "$2" && mkdir -p "$2"; }

# The font of the formulas, of which a build keeps the glyphs that it needs (book/_ext/mathml.py).
unpack @fontsource/stix-two-math@5.3.0 "$vendor/stix"
cp package/files/stix-two-math-latin-400-normal.woff "$vendor/stix/stix-two-math.woff"
cp package/LICENSE "$vendor/stix/"
rm -rf package

# Accessibility rules for tests/site; no part of the site.
unpack axe-core@4.14.1 "$axe"
cp package/axe.min.js package/LICENSE package/LICENSE-3RD-PARTY.txt "$axe/"

for folder in "$vendor" "$axe"; do
  (cd "$folder" && find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs sha256sum > SHA256SUMS)
done
rm -rf "$work"
