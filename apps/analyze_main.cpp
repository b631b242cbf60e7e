#include <noisysgd/apps/analysis/analysis.h>

int main(int argc, char** argv) { return noisysgd::analyze_main(argc, argv); }
