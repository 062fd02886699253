#pragma once
// A library to preload, not to call: see powercut.c.
