#!/usr/bin/env bash
# Prints the man page of a program, made from its --help and that of its subcommands. Usage: man_page.sh PROGRAM
set -euo pipefail
program=$1
name=$(basename -- "$program")
version=$("$program" --version)
help=$("$program" --help)

# The help as roff. Headings end with a colon, entries are indented by two columns, what explains them by more.
sections() {
  awk '
    function text(line) {
      gsub(/\\/, "\\e", line)
      gsub(/-/, "\\-", line)
      sub(/^[.\x27]/, "\\\\\\&&", line)
      return line
    }
    /^Usage:/ { described = 1; next }
    !described || /^$/ { next }
    /^[A-Za-z].*:$/ { print ".SS " text(substr($0, 1, length($0) - 1)); next }
    /^  [^ ]/ {
      entry = substr($0, 3)
      explanation = ""
      if (match(entry, /  +/)) {
        explanation = substr(entry, RSTART + RLENGTH)
        entry = substr(entry, 1, RSTART - 1)
      }
      print ".TP\n.B \"" text(entry) "\""
      if (explanation != "") print text(explanation)
      next
    }
    { sub(/^ +/, ""); print text($0) }'
}
usage() { sed -n 's/^Usage: //p' | sed 's/-/\\-/g'; }
subcommands() { sed -n '/^Subcommands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p' <<<"$help"; }

printf '.TH %s 1 "" "NoisySGD %s"\n' "${name^^}" "${version%%,*}"
printf '.SH NAME\n%s \\- %s\n' "${name//-/\\-}" "$(sed '/^Usage:/,$d' <<<"$help" | tr '\n' ' ')"
printf '.SH SYNOPSIS\n%s\n' "$(usage <<<"$help")"
for command in $(subcommands); do
  printf '.br\n%s\n' "$("$program" "$command" --help | usage)"
done
printf '.SH OPTIONS\n'
sections <<<"$help"
for command in $(subcommands); do
  printf '.SH "OPTIONS OF %s"\n' "${command^^}"
  "$program" "$command" --help | sections
done
