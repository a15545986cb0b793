/** The package's version, that of package.json: written here too, so that it is known where that file is not, as in a bundle. */

/** A test holds it against package.json. */
export const VERSION = "0.1.0";
