#include <noisysgd/apps/eval/eval_app.h>

int main(int argc, char** argv) { return noisysgd::eval_main(argc, argv); }
