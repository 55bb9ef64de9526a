// Stand-in: included by ProcessGroupGloo.hpp, nothing of it is used there.
#pragma once
