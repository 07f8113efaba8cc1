// What a dashboard of Grafana may say, with the options of each kind of panel that ours has. Grafana's own Dashboard
// takes any options; it checks them by these types, one of which each panel's plugin has.
import type { Dashboard, FieldConfig, FieldConfigSource, GraphFieldConfig, Panel } from "@grafana/schema";
import type { Options as StatOptions } from "@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen.d.ts";
import type {
  FieldConfig as TableFieldConfig,
  Options as TableOptions,
} from "@grafana/schema/dist/types/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen.d.ts";
import type { Options as GraphOptions } from "@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen.d.ts";

/** In a file a member of an enumeration is its text. */
type Json<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

type Of<Kind extends string, Options, Custom> = Omit<Panel, "type" | "options" | "fieldConfig"> & {
  type: Kind;
  options: Partial<Options>;
  fieldConfig: Omit<FieldConfigSource, "defaults"> & {
    defaults: Omit<FieldConfig, "custom"> & { custom?: Partial<Custom> };
  };
};

type AnyPanel =
  | Of<"stat", StatOptions, Record<string, never>>
  | Of<"table", TableOptions, TableFieldConfig>
  | Of<"timeseries", GraphOptions, GraphFieldConfig>;

export type Shipped = Json<Omit<Dashboard, "panels"> & { panels: AnyPanel[] }>;
