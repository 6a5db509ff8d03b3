package android.content;

import java.io.File;

public class Context {
    public static String dataFolder = "/", packageName = "";

    public File getFilesDir() {
        File folder = new File(dataFolder, "files");
        folder.mkdirs();
        return folder;
    }

    public File getCacheDir() {
        File folder = new File(dataFolder, "cache");
        folder.mkdirs();
        return folder;
    }

    public String getPackageName() { return packageName; }

    public final String getString(int id) { return "text " + id; }

    public final String getString(int id, Object... values) { return "text " + id; }

    public void startActivity(Intent intent) { }
}
