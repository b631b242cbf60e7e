# Man pages and completion are made from --help: a page has every option and subcommand, and is roff that man accepts;
# completion knows options, subcommands and choices.
file(MAKE_DIRECTORY ${OUTPUT})
execute_process(COMMAND ${SOURCE}/scripts/package/man_page.sh ${PROGRAMS}/noisysgd-data OUTPUT_FILE ${OUTPUT}/noisysgd-data.1
  COMMAND_ERROR_IS_FATAL ANY)
file(READ ${OUTPUT}/noisysgd-data.1 page)
foreach(part ".TH NOISYSGD-DATA 1" "noisysgd\\-data \\- Fetches, verifies" ".B \"preview\"" ".SH \"OPTIONS OF FETCH\""
    ".B \"\\-\\-mirror TEXT ...\"" "noisysgd\\-data fetch [OPTIONS] NAME")
  string(FIND "${page}" "${part}" place)
  if(place EQUAL -1)
    message(FATAL_ERROR "the page lacks ${part}:\n${page}")
  endif()
endforeach()

set(programs "noisysgd-data noisysgd-train")
configure_file(${SOURCE}/scripts/package/completion.bash.in ${OUTPUT}/completion.bash @ONLY)
set(ENV{PATH} "${PROGRAMS}:$ENV{PATH}")
function(expect words completed)
  execute_process(COMMAND bash -c "source '${OUTPUT}/completion.bash'
    COMP_WORDS=(${words}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
    _noisysgd \"\${COMP_WORDS[0]}\" \"\${COMP_WORDS[COMP_CWORD]}\" \"\${COMP_WORDS[COMP_CWORD - 1]}\"
    echo \"\${COMPREPLY[*]}\"" OUTPUT_VARIABLE printed OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(NOT printed STREQUAL completed)
    message(FATAL_ERROR "${words}: expected ${completed}, got ${printed}")
  endif()
endfunction()
expect("noisysgd-train --de" "--device --describe")
expect("noisysgd-train CONFIG --only ''" "")
expect("noisysgd-data ''" "fetch verify preview")
expect("noisysgd-data fetch --m" "--mirror")
expect("noisysgd-data fetch cif" "cifar10 cifar100")
expect("noisysgd-data preview mnist --split ''" "train test")
