package javax.annotation;

/** The annotation of generated classes, which Java itself had up to version 8. */
public @interface Generated {
  String[] value();

  String comments() default "";
}
