# What `cmake --install` installs, and the packages that `cpack` makes from it. Two components: `programs`, and
# `development` with headers and libraries.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package ${CMAKE_CURRENT_LIST_DIR})
set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/noisysgd)

# Libraries and headers. Each room is a component of find_package, which needs what that room needs, not more.
foreach(room kernels core layers optim data apps bench)
  set_target_properties(nsgd_${room} PROPERTIES EXPORT_NAME ${room})
  target_include_directories(nsgd_${room} PUBLIC $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  install(TARGETS nsgd_${room} EXPORT noisysgd_${room} COMPONENT development)
  install(EXPORT noisysgd_${room} FILE ${room}.cmake NAMESPACE noisysgd:: DESTINATION ${config_folder} COMPONENT development)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${room}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/noisysgd/${room}
    COMPONENT development FILES_MATCHING PATTERN "*.h" PATTERN emulation EXCLUDE PATTERN program EXCLUDE PATTERN configs EXCLUDE)
endforeach()
set_target_properties(nsgd_kernels PROPERTIES EXPORT_PROPERTIES CUDA_ARCHITECTURES)  # for noisysgd_cuda_sources
configure_package_config_file(${package}/config.cmake.in ${PROJECT_BINARY_DIR}/package/noisysgdConfig.cmake
  INSTALL_DESTINATION ${config_folder})
# Before 1.0, a minor version may change what a project uses.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/noisysgdConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/noisysgdConfig.cmake ${PROJECT_BINARY_DIR}/package/noisysgdConfigVersion.cmake
  ${PROJECT_SOURCE_DIR}/third_party/find.cmake ${PROJECT_SOURCE_DIR}/kernels/cuda/own_kernels.cmake DESTINATION ${config_folder} COMPONENT development)

file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)  # the package can be moved
string(REGEX REPLACE "/$" "" up ${up})
configure_file(${package}/noisysgd.pc.in ${PROJECT_BINARY_DIR}/package/noisysgd.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/package/noisysgd.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)

install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/CITATION.cff ${PROJECT_SOURCE_DIR}/CHANGELOG.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT programs)
if(NSGD_BUILD_APPS)
  foreach(program ${NSGD_PROGRAMS})
    install(TARGETS noisysgd-${program} COMPONENT programs)
    list(APPEND programs noisysgd-${program})
    # Finds the OpenMP variant of OpenBLAS where another one is installed, too, and CUDA's libraries.
    set_target_properties(noisysgd-${program} PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
    # Man page
    set(page ${PROJECT_BINARY_DIR}/package/noisysgd-${program}.1.gz)
    add_custom_command(OUTPUT ${page} DEPENDS noisysgd-${program} ${package}/man_page.sh VERBATIM
      COMMAND bash -o pipefail -c "'${package}/man_page.sh' '$<TARGET_FILE:noisysgd-${program}>' | gzip -9n > '${page}'")
    list(APPEND pages ${page})
  endforeach()
  add_custom_target(man_pages ALL DEPENDS ${pages})
  install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT programs)
  # bash loads the completion of a command from the file of its name.
  list(JOIN programs " " names)
  configure_file(${package}/completion.bash.in ${PROJECT_BINARY_DIR}/package/completion.bash @ONLY)
  foreach(program ${programs})
    install(FILES ${PROJECT_BINARY_DIR}/package/completion.bash RENAME ${program}
      DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions COMPONENT programs)
  endforeach()
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/apps/configs DESTINATION ${CMAKE_INSTALL_DATADIR}/noisysgd COMPONENT programs)
endif()

# Packages: two for Debian, one archive with everything. Each archive is named for its processor.
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_PACKAGE_NAME noisysgd)
set(CPACK_PACKAGE_VENDOR "The NoisySGD authors")
set(CPACK_PACKAGE_CONTACT "The NoisySGD authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGE_FILE_NAME noisysgd-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_COMPONENTS_ALL programs development)
set(CPACK_ARCHIVE_COMPONENT_INSTALL OFF)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_NAME noisysgd)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_DEPENDS libopenblas0-openmp)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_RECOMMENDS "ca-certificates, gnuplot-nox")
set(CPACK_COMPONENT_PROGRAMS_DESCRIPTION "The programs, their manual pages and configurations.")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libnoisysgd-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libdnnl-dev, libopenblas-openmp-dev, \
libcurl4-openssl-dev | libcurl4-gnutls-dev | libcurl4-nss-dev, zlib1g-dev, libpng-dev, libjpeg-dev, libfmt-dev, \
nlohmann-json3-dev, libcli11-dev")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "Headers and static libraries, for CMake and pkg-config.")
include(CPack)
