// What every page does with script. Each module adds to markup that already works without.
import "./copy.js";
import "./menus.js";
import "./dialogs.js";
import "./toasts.js";
import "./swaps.js";
import "./print.js";
import "./charts.js";
