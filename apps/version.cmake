# Run whenever something is built: writes OUTPUT from version.cpp.in with VERSION and the commit of SOURCE. A file that
# would not change is not touched, so that nothing is compiled again.
set(commit unknown)
find_program(GIT git)
if(GIT)
  # The prefix is not empty in a folder of another project's checkout.
  execute_process(COMMAND ${GIT} -C ${SOURCE} rev-parse --show-prefix
    RESULT_VARIABLE status OUTPUT_VARIABLE prefix ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(status EQUAL 0 AND prefix STREQUAL "")
    execute_process(COMMAND ${GIT} -C ${SOURCE} describe --always --exclude=* --abbrev=12 --dirty=+changes
      RESULT_VARIABLE status OUTPUT_VARIABLE described ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(status EQUAL 0)
      set(commit ${described})
    endif()
  endif()
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/version.cpp.in ${OUTPUT} @ONLY)
