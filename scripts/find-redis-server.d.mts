/** The path of an executable Redis or Valkey server, 6.2 or newer. Throws an Error that says what to type. */
export declare function findRedisServer(): Promise<string>
